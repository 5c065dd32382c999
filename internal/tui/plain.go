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
}

type plainJob struct {
	name    string
	state   corev1.JobState
	attempt uint32
	// printed is set by the first output; logAttempt and step are where the last printed output came from; partial is its unfinished line.
	logAttempt string
	step       uint32
	printed    bool
	partial    []byte
	stepNames  map[uint32]string
}

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
		pr.title = fmt.Sprintf("%s #%d", clean(r.GetName()), r.GetNumber())
		p.line("%s > run %s, %s", pr.title, r.GetId(), Describe(r))
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
	pj.name = JobName(j)
	for _, s := range j.GetSteps() {
		pj.stepNames[s.GetNumber()] = clean(s.GetName())
	}
	return pj
}

func (p *Plain) job(pr *plainRun, j *apiv1.Job) {
	pj := pr.learn(j)
	if j.GetState() == pj.state && j.GetAttempt() == pj.attempt {
		return
	}
	pj.state, pj.attempt = j.GetState(), j.GetAttempt()
	prefix := p.prefix(pr, pj)
	again := ""
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

func colon(s string) string {
	if s == "" {
		return ""
	}
	return ": " + s
}

// Log takes output of a run's job.
func (p *Plain) Log(runID string, l *apiv1.StreamLogsResponse) {
	pr := p.run(runID)
	pj := pr.job(l.GetJobId())
	prefix := p.prefix(pr, pj)
	if !pj.printed || l.GetStep() != pj.step || l.GetAttemptId() != pj.logAttempt {
		p.flush(prefix, pj)
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
		pr = &plainRun{jobs: map[string]*plainJob{}}
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
