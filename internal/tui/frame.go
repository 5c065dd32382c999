package tui

import (
	"fmt"
	"strings"
	"time"

	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// Size of a terminal in character cells.
type Size struct{ Width, Height int }

// Limits of a frame: beyond them it only gets harder to read.
const (
	minWidth  = 10
	maxHeight = 48
	jobTail   = 6
)

// seg is a piece of a line in one colour.
type seg struct {
	colour colour
	text   string
}

// line joins segments into at most width columns. Nothing is styled before it is cut, so no sequence is ever broken.
func (s Style) line(width int, segs ...seg) string {
	var b strings.Builder
	room := width
	for i, g := range segs {
		if room <= 0 {
			break
		}
		rest := 0
		for _, later := range segs[i+1:] {
			rest += textWidth(later.text)
		}
		text := g.text
		if w := textWidth(text); w > room || w == room && rest > 0 {
			text = fit(text+" ", room, s.ellipsis())
		}
		b.WriteString(s.paint(g.colour, text))
		room -= textWidth(text)
	}
	return b.String()
}

// Frame draws the model as lines for a terminal of this size: never more than Height-1 lines (the cursor rests below),
// never wider than Width-1 columns (writing the last column makes some terminals wrap). What does not fit is folded:
// finished jobs first, running and failed ones last.
func (m *Model) Frame(size Size, now time.Time, style Style) []string {
	width := max(size.Width-1, minWidth)
	budget := max(min(size.Height-1, maxHeight), 1)
	f := &frame{style: style, width: width, now: now}
	budget -= len(m.notices)
	share := budget / max(len(m.runs), 1)
	for i, r := range m.runs {
		// Rows that earlier runs did not need go to the later ones.
		f.run(r, max(share, budget-len(f.lines)-share*(len(m.runs)-i-1)))
	}
	f.lines = f.lines[:min(len(f.lines), max(budget, 0))]
	for _, n := range m.notices {
		f.add(seg{yellow, n})
	}
	return f.lines
}

type frame struct {
	style Style
	width int
	now   time.Time
	lines []string
}

func (f *frame) add(segs ...seg) { f.lines = append(f.lines, f.style.line(f.width, segs...)) }

// run draws one run in at most rows lines.
func (f *frame) run(r *runModel, rows int) {
	if rows <= 0 {
		return
	}
	before := len(f.lines)
	f.header(r)
	rows -= len(f.lines) - before
	jobs := r.run.GetJobs()
	shown, folded := choose(jobs, rows)
	spare := rows - len(shown)
	if folded != "" {
		spare--
	}
	details := f.details(r, shown, spare)
	nameWidth := f.nameWidth(shown)
	for _, j := range shown {
		f.job(j, nameWidth)
		for _, d := range details[j.GetId()] {
			f.add(d...)
		}
	}
	if folded != "" {
		f.add(seg{dim, "  " + f.style.ellipsis() + " " + folded})
	}
}

func (f *frame) header(r *runModel) {
	run := r.run
	if run == nil {
		f.add(seg{bold, r.id}, seg{dim, "  waiting for the coordinator"})
		return
	}
	l := runLook(run.GetState())
	number, state, took := " "+Number(run), " "+l.word, " "+f.since(run.GetCreatedMs(), run.GetEndedMs())
	// A long name gives way to what the run comes to.
	name := fit(clean(run.GetName()), max(8, f.width-4-textWidth(number+state+took)), f.style.ellipsis())
	f.add(seg{l.colour, l.mark(f.style) + " "}, seg{bold, name}, seg{plain, number}, seg{l.colour, state}, seg{plain, took}, seg{dim, "  " + Describe(run)})
	if reason := clean(run.GetReason()); reason != "" {
		f.add(seg{dim, "  " + reason})
	}
}

// Number is the name of a run's attempt that every command takes: #12.1 is the first attempt of run 12. "#12" alone means the newest one, so
// nothing that stays on a screen says that.
func Number(run *apiv1.Run) string {
	return fmt.Sprintf("#%d.%d", run.GetNumber(), max(1, run.GetAttempt()))
}

// Describe says what a run is of: "push main@1a2b3c4 (dirty)".
func Describe(run *apiv1.Run) string {
	src := run.GetSource()
	ref := src.GetRef()
	for _, p := range []string{"refs/heads/", "refs/tags/"} {
		ref = strings.TrimPrefix(ref, p)
	}
	sha := src.GetSha()
	if len(sha) > 7 {
		sha = sha[:7]
	}
	parts := []string{run.GetEvent()}
	switch {
	case strings.Trim(sha, "0") == "":
		parts = append(parts, ref)
	case strings.HasPrefix(src.GetRef(), sha):
		parts = append(parts, sha)
	default:
		parts = append(parts, ref+"@"+sha)
	}
	if src.GetDirty() {
		parts = append(parts, "(dirty)")
	}
	return clean(strings.TrimSpace(strings.Join(parts, " ")))
}

// since is the time from start to end, or to now while it runs; "" before the start. Clocks may differ a little.
func (f *frame) since(startMs, endMs int64) string {
	if startMs == 0 {
		return ""
	}
	end := f.now.UnixMilli()
	if endMs != 0 {
		end = endMs
	}
	return Duration(time.Duration(end-startMs) * time.Millisecond)
}

// stateRoom are the columns beside a job's name: its mark, its time and the word for its state.
const stateRoom = 24

// nameWidth is the column where the states begin: the longest name, but only as much as leaves the states readable.
func (f *frame) nameWidth(jobs []*apiv1.Job) int {
	w := 0
	for _, j := range jobs {
		w = max(w, textWidth(JobName(j)))
	}
	return min(w, max(8, f.width-stateRoom))
}

// JobName is what people call a job.
func JobName(j *apiv1.Job) string {
	if n := clean(j.GetName()); n != "" {
		return n
	}
	return j.GetId()
}

func (f *frame) job(j *apiv1.Job, nameWidth int) {
	l := jobLook(j.GetState())
	name := fit(JobName(j), nameWidth, f.style.ellipsis())
	name += strings.Repeat(" ", max(0, nameWidth-textWidth(name)))
	segs := []seg{{l.colour, "  " + l.mark(f.style) + " "}, {plain, name + "  "}}
	if took := f.since(j.GetStartedMs(), j.GetEndedMs()); took != "" && j.GetState() != corev1.JobState_JOB_STATE_SKIPPED {
		segs = append(segs, seg{plain, fmt.Sprintf("%6s  ", took)})
	}
	segs = append(segs, seg{l.colour, JobWord(j.GetState())})
	if why := why(j); why != "" {
		segs = append(segs, seg{dim, ": " + why})
	}
	f.add(segs...)
}

// why explains a job that does not run, or that failed.
func why(j *apiv1.Job) string {
	switch {
	case j.GetKeptAttempt() > 0:
		return keptNote(j.GetKeptAttempt())
	case j.GetFailure() != nil:
		first, _, _ := strings.Cut(j.GetFailure().GetMessage(), "\n")
		return clean(first) + heldNote(j)
	case j.GetReason() != "":
		return clean(j.GetReason())
	case j.GetState() == corev1.JobState_JOB_STATE_BLOCKED && len(j.GetNeeds()) > 0:
		return "needs " + strings.Join(j.GetNeeds(), ", ")
	case j.GetAttempt() > 1:
		return fmt.Sprintf("attempt %d", j.GetAttempt())
	}
	return ""
}

// keptNote says of a job that it did not run in this attempt of the run, but in an earlier one.
func keptNote(attempt uint32) string { return fmt.Sprintf("kept from attempt %d of the run", attempt) }

// heldNote says until when a failed job's pod is held.
func heldNote(j *apiv1.Job) string {
	if j.GetHeld() == nil || j.GetHeld().GetReleasedMs() != 0 {
		return ""
	}
	return fmt.Sprintf(" (held until %s: slipway debug)", time.UnixMilli(j.GetHeld().GetUntilMs()).Format(time.TimeOnly))
}

// details are the lines below running jobs, in at most rows lines altogether: first the step of each, then its output,
// shared evenly.
func (f *frame) details(r *runModel, jobs []*apiv1.Job, rows int) map[string][][]seg {
	out := map[string][][]seg{}
	var running []*apiv1.Job
	for _, j := range jobs {
		if s := runningStep(j); s != nil && rows > 0 {
			name := fit(clean(s.GetName()), f.width-18, f.style.ellipsis())
			out[j.GetId()] = [][]seg{{{plain, "      " + name + " "}, {dim, f.stepTime(j, s)}}}
			running = append(running, j)
			rows--
		}
	}
	for i, j := range running {
		n := min(jobTail, rows/(len(running)-i))
		t := r.tails[j.GetId()]
		if t == nil || t.attempt != j.GetAttemptId() && j.GetAttemptId() != "" || t.step != runningStep(j).GetNumber() {
			continue
		}
		for _, l := range t.last(n) {
			out[j.GetId()] = append(out[j.GetId()], []seg{{dim, "      " + f.style.bar() + " "}, {dim, l}})
			rows--
		}
	}
	return out
}

func runningStep(j *apiv1.Job) *corev1.StepStatus {
	if s := j.GetState(); s != corev1.JobState_JOB_STATE_RUNNING && s != corev1.JobState_JOB_STATE_CANCELLING {
		return nil
	}
	steps := j.GetSteps()
	for i := len(steps) - 1; i >= 0; i-- {
		if steps[i].GetState() == corev1.StepState_STEP_STATE_RUNNING {
			return steps[i]
		}
	}
	return nil
}

func (f *frame) stepTime(j *apiv1.Job, s *corev1.StepStatus) string {
	if j.GetStartedMs() == 0 || s.GetStartedMs() < 0 {
		return ""
	}
	return f.since(j.GetStartedMs()+s.GetStartedMs(), 0)
}
