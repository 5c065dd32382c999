package conformance

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/pipeline/lint"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// finding is one diagnostic, as `slipway validate -o json` prints it.
type finding struct {
	Line, Column            int
	Severity, Code, Message string
	Hint                    string
}

// observed is what came of a case.
type observed struct {
	findings []finding
	// code is the exit code of `slipway run`, stderr what it said; -1 in a series, where nobody follows.
	code   int
	stderr string
	// run is nil if there was none.
	run *apiv1.Run
	// logs by job and step.
	logs map[string]map[uint32]string
}

// Exit codes of the CLI, as its help promises them.
var exitCodes = map[string]int{"succeeded": 0, "skipped": 0, "failed": 1, "cancelled": 4}

const exitInvalid = 2

// problems collects how what was observed differs from what is wanted.
type problems []string

func (p *problems) add(format string, args ...any) { *p = append(*p, fmt.Sprintf(format, args...)) }

// judge returns every difference.
func judge(w want, o observed) []string {
	var p problems
	p.findings(w, o)
	switch {
	case len(w.Refused) > 0 || w.Invalid != "":
		if o.code != exitInvalid || o.run != nil {
			p.add("exit code %d, want %d and no run", o.code, exitInvalid)
		}
		if !strings.Contains(o.stderr, w.Invalid) {
			p.add("the refusal does not say %q: %s", w.Invalid, o.stderr)
		}
	case o.run == nil:
		p.add("there was no run: exit code %d, %s", o.code, o.stderr)
	default:
		p.run(wantRun{Run: w.Run, Name: w.Name, Jobs: w.Jobs}, o)
		if got := testsOf(o.run); w.Tests != nil && got != *w.Tests {
			p.add("the reports say %+v, want %+v", got, *w.Tests)
		}
		if most := atOnce(o.run.GetJobs()); w.MostAtOnce > 0 && most > w.MostAtOnce {
			p.add("%d jobs ran at once, want at most %d", most, w.MostAtOnce)
		}
	}
	return p
}

// judgeSeries judges each run of a series.
func judgeSeries(w want, findings []finding, runs []observed) []string {
	var p problems
	p.findings(w, observed{findings: findings})
	for i, o := range runs {
		var own problems
		own.run(w.Series[i], o)
		for _, text := range own {
			p.add("run %d: %s", i+1, text)
		}
	}
	return p
}

// findings compares the compiler's; each wanted one is LINE:COLUMN CODE or LINE:COLUMN CODE: PART OF MESSAGE OR HINT.
func (p *problems) findings(w want, o observed) {
	wanted := slices.Concat(w.Refused, w.Warnings)
	for _, f := range o.findings {
		if len(w.Refused) == 0 && f.Severity == "error" {
			p.add("the file is refused: %v", f)
		}
		place := fmt.Sprintf("%d:%d %s", f.Line, f.Column, f.Code)
		at := slices.IndexFunc(wanted, func(text string) bool {
			where, what, _ := strings.Cut(text, ": ")
			return where == place && (strings.Contains(f.Message, what) || strings.Contains(f.Hint, what))
		})
		if at < 0 && advice(f) {
			continue
		}
		if at < 0 {
			p.add("unexpected %s at %s: %s (hint: %s)", f.Severity, place, f.Message, f.Hint)
			continue
		}
		wanted = slices.Delete(slices.Clone(wanted), at, at+1)
	}
	for _, text := range wanted {
		p.add("no finding %s", text)
	}
}

// advice is a warning about what may be written and had better not be. Cases do so on purpose, and others test who warns.
func advice(f finding) bool {
	return f.Severity == "warning" && (lint.Codes[f.Code] != "" || f.Code == "suspicious-expression")
}

func (p *problems) run(w wantRun, o observed) {
	state := cmp.Or(w.Run, "succeeded")
	if got := strings.ToLower(strings.TrimPrefix(o.run.GetState().String(), "RUN_STATE_")); got != state {
		p.add("the run is %s, want %s", got, state)
	}
	if want := exitCodes[state]; o.code >= 0 && o.code != want {
		p.add("exit code %d, want %d: %s", o.code, want, o.stderr)
	}
	if w.Name != nil && *w.Name != o.run.GetName() {
		p.add("the run's name is %q, want %q", o.run.GetName(), *w.Name)
	}
	if !strings.Contains(o.run.GetFailure().GetMessage(), w.Failure) {
		p.add("the run's failure is %q, want %q", o.run.GetFailure().GetMessage(), w.Failure)
	}
	left := maps.Clone(w.Jobs)
	for _, j := range o.run.GetJobs() {
		wanted, ok := w.Jobs[j.GetId()]
		if !ok {
			p.add("unexpected job %s (%s)", j.GetId(), resultOf(j))
			continue
		}
		delete(left, j.GetId())
		var own problems
		own.job(wanted, j, o.logs[j.GetId()])
		for _, text := range own {
			p.add("job %s: %s", j.GetId(), text)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(left)) {
		p.add("no job %s", id)
	}
}

func (p *problems) job(w wantJob, j *apiv1.Job, logs map[uint32]string) {
	if got, want := resultOf(j), cmp.Or(w.Result, "success"); got != want {
		p.add("%s, want %s; reason %q, failure %v", got, want, j.GetReason(), j.GetFailure())
	}
	code, part, _ := strings.Cut(w.Failure, ": ")
	if f := j.GetFailure(); w.Failure != "" && f.GetCode() != code || !strings.Contains(f.GetMessage(), part) {
		p.add("its failure is %q: %q, want %q", f.GetCode(), f.GetMessage(), w.Failure)
	}
	if !strings.Contains(j.GetReason(), w.Reason) {
		p.add("its reason is %q, want %q", j.GetReason(), w.Reason)
	}
	if w.Name != nil && *w.Name != j.GetName() {
		p.add("its name is %q, want %q", j.GetName(), *w.Name)
	}
	if !maps.Equal(w.Outputs, j.GetOutputs()) {
		p.add("its outputs are %q, want %q", j.GetOutputs(), w.Outputs)
	}
	p.same("annotations", annotations(j), append([]string{}, w.Annotations...))
	if took := (j.GetEndedMs() - j.GetStartedMs()) / 1000; w.MostSeconds > 0 && j.GetStartedMs() > 0 && took > int64(w.MostSeconds) {
		p.add("it took %d s, want at most %d", took, w.MostSeconds)
	}
	p.steps(w, j)
	p.log(w, j, logs)
}

func (p *problems) same(what string, got, want []string) {
	if !slices.Equal(got, want) {
		p.add("its %s are\n\t%s\nwant\n\t%s", what, strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

func (p *problems) steps(w wantJob, j *apiv1.Job) {
	var conclusions, names []string
	for _, s := range j.GetSteps() {
		if ofAgent(s) {
			continue
		}
		outcome, conclusion := word(s.GetOutcome()), word(s.GetConclusion())
		if outcome != conclusion {
			conclusion = outcome + "/" + conclusion
		}
		conclusions, names = append(conclusions, conclusion), append(names, s.GetName())
	}
	if w.Steps != nil {
		p.same("steps", conclusions, w.Steps)
	}
	if w.StepNames != nil {
		p.same("steps' names", names, w.StepNames)
	}
}

func (p *problems) log(w wantJob, j *apiv1.Job, logs map[uint32]string) {
	var own string
	agents := map[string]string{}
	for _, s := range j.GetSteps() {
		if ofAgent(s) {
			agents[s.GetName()] += logs[s.GetNumber()]
		} else {
			own += logs[s.GetNumber()]
		}
	}
	p.lines("Set up job", agents["Set up job"], w.Setup)
	p.lines("Complete job", agents["Complete job"], w.Complete)
	if len(w.Has) == 0 {
		want := ""
		if w.Log != nil {
			want = *w.Log
		}
		if own != want {
			p.add("it printed\n%s\nwant\n%s", quoteLines(own), quoteLines(want))
		}
		return
	}
	p.lines("log", own, w.Has)
	for _, text := range w.Lacks {
		if strings.Contains(own, text) {
			p.add("its log holds %q:\n%s", text, quoteLines(own))
		}
	}
}

// lines wants whole lines in a text.
func (p *problems) lines(what, text string, want []string) {
	have := strings.Split(text, "\n")
	for _, line := range want {
		if !slices.Contains(have, line) {
			p.add("its %s lacks the line %q:\n%s", what, line, quoteLines(text))
		}
	}
}

// quoteLines shows every odd character of a text, a line at a time.
func quoteLines(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		fmt.Fprintf(&b, "\t%q\n", line)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// ofAgent: the first and the last step are the agent's own.
func ofAgent(s *corev1.StepStatus) bool {
	return s.GetName() == "Set up job" && s.GetNumber() == 0 || s.GetName() == "Complete job"
}

// annotations as LEVEL[ FILE:LINE:COLUMN][ (TITLE)]: MESSAGE.
func annotations(j *apiv1.Job) []string {
	all := []string{}
	for _, a := range j.GetAnnotations() {
		var b strings.Builder
		b.WriteString(a.GetLevel())
		if a.GetFile() != "" || a.GetLine() > 0 {
			fmt.Fprintf(&b, " %s:%d:%d", a.GetFile(), a.GetLine(), a.GetColumn())
		}
		if a.GetTitle() != "" {
			fmt.Fprintf(&b, " (%s)", a.GetTitle())
		}
		all = append(all, b.String()+": "+a.GetMessage())
	}
	return all
}

func resultOf(j *apiv1.Job) string {
	switch s := j.GetState(); s {
	case corev1.JobState_JOB_STATE_SUCCEEDED:
		return "success"
	case corev1.JobState_JOB_STATE_FAILED:
		return "failure"
	default:
		return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(s.String(), "JOB_STATE_")), "_", "-")
	}
}

func word(r corev1.Result) string {
	return strings.ToLower(strings.TrimPrefix(r.String(), "RESULT_"))
}

// testsOf sums what the run's artifacts say of tests.
func testsOf(r *apiv1.Run) (sum wantTests) {
	for _, a := range r.GetArtifacts() {
		sum.Tests += a.GetTests().GetTests()
		sum.Failures += a.GetTests().GetFailures()
	}
	return sum
}

// atOnce is how many jobs ran at the same time, at most.
func atOnce(jobs []*apiv1.Job) (most int) {
	for _, a := range jobs {
		now := 0
		for _, b := range jobs {
			if b.GetStartedMs() > 0 && b.GetStartedMs() <= a.GetStartedMs() && a.GetStartedMs() < b.GetEndedMs() {
				now++
			}
		}
		most = max(most, now)
	}
	return most
}
