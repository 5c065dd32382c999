package tui

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"time"

	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// Plain writes whole lines, each with its job in front: `job | output` for what steps print and `job > …` for what
// Slipway has to say. Lines of different jobs interleave, bytes within a line never do. Not safe for concurrent use.
type Plain struct {
	w      io.Writer
	colour bool
	many   bool
	runs   map[string]*plainRun
	err    error
}

type plainRun struct {
	state corev1.RunState
	title string
	jobs  map[string]*plainJob
	// waits are the reasons of waiting that were said: many jobs of a run wait for the same.
	waits map[string]bool
	// watched: its states are shown, so names of steps will come.
	watched bool
}

type plainJob struct {
	name    string
	state   corev1.JobState
	attempt uint32
	// kept is the attempt of the run that ran the job, if its result was kept; 0 if not.
	kept uint32
	// printed is set by the first output; logAttempt and step are where the last printed output came from; partial is its unfinished line.
	logAttempt string
	step       uint32
	printed    bool
	partial    []byte
	stepNames  map[uint32]string
	// held is output of a step whose name has not come yet; heldBytes is its size, heldTicks its age.
	held                 []*apiv1.StreamLogsResponse
	heldBytes, heldTicks int
}

// maxHeld is how much output of a job waits for the name of its step, in bytes.
const maxHeld = 64 << 10

// NewPlain writes to w; colour lets colours of the output through. many puts the run in front of the job.
func NewPlain(w io.Writer, colour, many bool) *Plain {
	return &Plain{w: w, colour: colour, many: many, runs: map[string]*plainRun{}}
}

// Err is the first error of writing.
func (p *Plain) Err() error { return p.err }

// Run takes a run's newest state and says what changed.
func (p *Plain) Run(r *apiv1.Run) {
	pr := p.run(r.GetId())
	if pr.title == "" && r.GetName() != "" {
		pr.title = clean(r.GetName()) + " " + Number(r)
		p.line("%s > run %s, %s", pr.title, r.GetId(), Describe(r))
	}
	pr.watched = true
	if reason := clean(r.GetReason()); reason != "" && !pr.waits[reason] {
		pr.waits[reason] = true
		p.line("%s > %s: %s", pr.title, RunWord(r.GetState()), reason)
	}
	for _, j := range r.GetJobs() {
		p.job(pr, j)
	}
	pr.state = r.GetState()
}

// Learn takes the names of a run's jobs and steps and says nothing: for showing logs alone.
func (p *Plain) Learn(r *apiv1.Run) {
	pr := p.run(r.GetId())
	for _, j := range r.GetJobs() {
		pr.learn(j)
	}
}

func (pr *plainRun) learn(j *apiv1.Job) *plainJob {
	pj := pr.job(j.GetId())
	pj.name, pj.kept = JobName(j), j.GetKeptAttempt()
	for _, s := range j.GetSteps() {
		pj.stepNames[s.GetNumber()] = clean(s.GetName())
	}
	return pj
}

func (p *Plain) job(pr *plainRun, j *apiv1.Job) {
	pj := pr.learn(j)
	p.waiting(pr, pj, j)
	if j.GetState() != pj.state || j.GetAttempt() != pj.attempt {
		p.change(pr, pj, j)
	}
	p.named(p.prefix(pr, pj), pj)
}

// change says what a job came to.
func (p *Plain) change(pr *plainRun, pj *plainJob, j *apiv1.Job) {
	pj.state, pj.attempt = j.GetState(), j.GetAttempt()
	prefix := p.prefix(pr, pj)
	again := ""
	if pj.kept > 0 {
		p.line("%s > %s, %s", prefix, JobWord(j.GetState()), keptNote(pj.kept))
		return
	}
	if j.GetAttempt() > 1 {
		again = fmt.Sprintf(" (attempt %d)", j.GetAttempt())
	}
	switch jobLook(j.GetState()) {
	case lookRunning:
		on := ""
		if j.GetAgent() != "" {
			on = " on " + clean(j.GetAgent())
		}
		p.line("%s > running%s%s", prefix, on, again)
	case lookCancel:
		p.line("%s > cancelling", prefix)
	case lookSkipped:
		p.line("%s > skipped%s", prefix, colon(why(j)))
	case lookSucceeded, lookFailed, lookTimedOut, lookCancelled:
		p.release(prefix, pj)
		p.flush(prefix, pj)
		took := ""
		if j.GetStartedMs() != 0 && j.GetEndedMs() != 0 {
			took = " in " + Duration(time.Duration(j.GetEndedMs()-j.GetStartedMs())*time.Millisecond)
		}
		p.line("%s > %s%s%s", prefix, JobWord(j.GetState()), took, colon(why(j)))
	case lookWaiting, lookQueued:
		if j.GetAttempt() > 1 {
			p.line("%s > %s%s%s", prefix, JobWord(j.GetState()), again, colon(why(j)))
		}
	}
}

// waiting says once why jobs wait: else a run that nobody can start would look as if Slipway hung. What they need is not
// worth a line, the plan says it.
func (p *Plain) waiting(pr *plainRun, pj *plainJob, j *apiv1.Job) {
	reason := clean(j.GetReason())
	look := jobLook(j.GetState())
	if reason == "" || look != lookWaiting && look != lookQueued || j.GetAttempt() > 1 || pr.waits[reason] {
		return
	}
	pr.waits[reason] = true
	p.line("%s > %s: %s", p.prefix(pr, pj), JobWord(j.GetState()), reason)
}

func colon(s string) string {
	if s == "" {
		return ""
	}
	return ": " + s
}

// Log takes output of a run's job. Where states are shown too, the output of a step waits a moment for the state that
// names the step: both come in streams of their own.
func (p *Plain) Log(runID string, l *apiv1.StreamLogsResponse) {
	pr := p.run(runID)
	pj := pr.job(l.GetJobId())
	prefix := p.prefix(pr, pj)
	if _, named := pj.stepNames[l.GetStep()]; len(pj.held) == 0 && (named || !pr.watched) {
		p.log(prefix, pj, l)
		return
	}
	pj.held, pj.heldBytes = append(pj.held, l), pj.heldBytes+len(l.GetData())
	if pj.heldBytes > maxHeld {
		p.release(prefix, pj)
	}
}

// Tick lets output that waited from one tick to the next go without its step's name: the states may be late for long.
func (p *Plain) Tick() {
	for _, pr := range p.runs {
		for _, pj := range pr.jobs {
			if len(pj.held) == 0 {
				continue
			}
			if pj.heldTicks++; pj.heldTicks > 1 {
				p.release(p.prefix(pr, pj), pj)
			}
		}
	}
}

// named writes what was held until the next step without a name.
func (p *Plain) named(prefix string, pj *plainJob) {
	for len(pj.held) > 0 {
		l := pj.held[0]
		if _, named := pj.stepNames[l.GetStep()]; !named {
			return
		}
		pj.held, pj.heldBytes = pj.held[1:], pj.heldBytes-len(l.GetData())
		p.log(prefix, pj, l)
	}
	pj.heldTicks = 0
}

// release writes all that was held.
func (p *Plain) release(prefix string, pj *plainJob) {
	for _, l := range pj.held {
		p.log(prefix, pj, l)
	}
	pj.held, pj.heldBytes, pj.heldTicks = nil, 0, 0
}

func (p *Plain) log(prefix string, pj *plainJob, l *apiv1.StreamLogsResponse) {
	if !pj.printed || l.GetStep() != pj.step || l.GetAttemptId() != pj.logAttempt {
		p.flush(prefix, pj)
		if !pj.printed && pj.kept > 0 {
			p.line("%s > %s", prefix, keptNote(pj.kept))
		}
		pj.printed, pj.step, pj.logAttempt = true, l.GetStep(), l.GetAttemptId()
		if name := pj.stepNames[pj.step]; name != "" {
			p.line("%s > %s", prefix, name)
		}
	}
	data := append(pj.partial, l.GetData()...)
	for {
		i := bytes.IndexByte(data, '\n')
		if i < 0 {
			break
		}
		p.output(prefix, string(data[:i]))
		data = data[i+1:]
	}
	if len(data) > maxPartial {
		p.output(prefix, string(data))
		data = nil
	}
	pj.partial = append([]byte(nil), data...)
}

func (p *Plain) flush(prefix string, pj *plainJob) {
	if len(pj.partial) > 0 {
		p.output(prefix, string(pj.partial))
		pj.partial = nil
	}
}

// Notice says something that concerns no single job.
func (p *Plain) Notice(text string) { p.line("slipway > %s", clean(text)) }

// Close writes unfinished lines.
func (p *Plain) Close() {
	for _, pr := range p.runs {
		for _, pj := range pr.jobs {
			p.release(p.prefix(pr, pj), pj)
			p.flush(p.prefix(pr, pj), pj)
		}
	}
}

func (p *Plain) output(prefix, text string) {
	p.write(prefix + " | " + printable(strings.ToValidUTF8(text, "\ufffd"), p.colour) + "\n")
}

func (p *Plain) line(format string, args ...any) { p.write(fmt.Sprintf(format, args...) + "\n") }

func (p *Plain) write(s string) {
	if p.err == nil {
		_, p.err = io.WriteString(p.w, s)
	}
}

func (p *Plain) prefix(pr *plainRun, pj *plainJob) string {
	if p.many && pr.title != "" {
		return pr.title + " / " + pj.name
	}
	return pj.name
}

func (p *Plain) run(id string) *plainRun {
	pr := p.runs[id]
	if pr == nil {
		pr = &plainRun{jobs: map[string]*plainJob{}, waits: map[string]bool{}}
		p.runs[id] = pr
	}
	return pr
}

func (pr *plainRun) job(id string) *plainJob {
	pj := pr.jobs[id]
	if pj == nil {
		// The first step's name is the same everywhere, and its output often comes before the first state that names it.
		pj = &plainJob{name: id, stepNames: map[uint32]string{0: "Set up job"}}
		pr.jobs[id] = pj
	}
	return pj
}
