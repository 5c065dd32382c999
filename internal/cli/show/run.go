package show

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/internal/tui"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// printer writes lines and remembers the first error.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) f(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}

// Run writes all that is known of a run: its jobs and steps, failures, artifacts, and what its tests say. page is the address of the run's page; "" is
// none.
func Run(w io.Writer, r *apiv1.Run, page string, style tui.Style, now time.Time) error {
	p := &printer{w: w}
	p.f("%s %s  %s  %s", safe(r.GetName()), tui.Number(r), wordOf(r), took(r.GetCreatedMs(), r.GetEndedMs(), now))
	p.f("  id       %s", r.GetId())
	p.f("  source   %s %s", safe(r.GetSource().GetRepository()), tui.Describe(r))
	p.f("  file     %s", safe(r.GetPath()))
	if page != "" {
		p.f("  page     %s", safe(page))
	}
	if r.GetActor() != "" {
		p.f("  by       %s, %s", safe(r.GetActor()), time.UnixMilli(r.GetCreatedMs()).Format(time.RFC3339))
	}
	if r.GetAttempt() > 1 {
		p.f("  again    %s, asked for by %s; the attempt before is #%d.%d", again(r.GetRerunOf()), safe(r.GetRerunBy()), r.GetNumber(), r.GetAttempt()-1)
	}
	if r.GetReason() != "" {
		p.f("  %s", safe(r.GetReason()))
	}
	if r.GetFailure() != nil {
		p.failure("  ", r.GetFailure())
	}
	p.f("")
	for _, j := range r.GetJobs() {
		p.job(tui.Number(r), j, style, now)
	}
	p.artifacts(r.GetArtifacts())
	p.tests(r.GetArtifacts())
	return p.err
}

// again says what of a run was to run again, as the API has it.
func again(of string) string {
	switch of {
	case "all":
		return "all of it"
	case "failed":
		return "what had failed"
	}
	return "job " + safe(of)
}

func (p *printer) job(run string, j *apiv1.Job, style tui.Style, now time.Time) {
	line := fmt.Sprintf("%s %s  %s", style.JobMark(j.GetState()), tui.JobName(j), tui.JobWord(j.GetState()))
	if j.GetStartedMs() != 0 {
		line += "  " + took(j.GetStartedMs(), j.GetEndedMs(), now)
	}
	if j.GetAgent() != "" {
		line += "  on " + safe(j.GetAgent())
	}
	if j.GetAttempt() > 1 {
		line += fmt.Sprintf("  attempt %d", j.GetAttempt())
	}
	if j.GetKeptAttempt() > 0 {
		line += fmt.Sprintf("  kept from attempt %d of the run", j.GetKeptAttempt())
	}
	if j.GetFlaky() {
		line += "  passed on retry"
	}
	p.f("%s", line)
	for _, t := range j.GetTries() {
		p.f("    earlier  %s", try(t))
	}
	if j.GetReason() != "" && !strings.Contains(j.GetFailure().GetMessage(), j.GetReason()) {
		p.f("    %s", safe(j.GetReason()))
	}
	if j.GetFailure() != nil {
		p.failure("    ", j.GetFailure())
	}
	p.held(j, run, now)
	for _, s := range j.GetSteps() {
		p.step(j, s, style, now)
	}
	for _, a := range j.GetAnnotations() {
		p.annotation(a)
	}
}

func (p *printer) step(j *apiv1.Job, s *corev1.StepStatus, style tui.Style, now time.Time) {
	duration := ""
	switch {
	case s.GetStartedMs() >= 0 && s.GetEndedMs() >= s.GetStartedMs():
		duration = tui.Duration(time.Duration(s.GetEndedMs()-s.GetStartedMs()) * time.Millisecond)
	case s.GetState() == corev1.StepState_STEP_STATE_RUNNING && j.GetStartedMs() != 0:
		duration = took(j.GetStartedMs()+max(s.GetStartedMs(), 0), 0, now)
	}
	if s.GetState() == corev1.StepState_STEP_STATE_SKIPPED {
		duration = "skipped"
	}
	note := ""
	if s.GetExitCode() != 0 {
		note = fmt.Sprintf("  exit code %d", s.GetExitCode())
	}
	if s.GetOutcome() == corev1.Result_RESULT_FAILURE && s.GetConclusion() == corev1.Result_RESULT_SUCCESS {
		note += "  (continued)"
	}
	p.f("    %s %7s  %s%s", style.StepMark(s.GetState()), duration, safe(s.GetName()), note)
	if s.GetFailure() != nil && s.GetFailure().GetMessage() != j.GetFailure().GetMessage() {
		p.failure("              ", s.GetFailure())
	}
}

func (p *printer) failure(indent string, f *corev1.Failure) {
	message := strings.TrimPrefix(strings.TrimSpace(f.GetMessage()), f.GetCode()+": ")
	for i, l := range strings.Split(message, "\n") {
		if i == 0 {
			p.f("%s%s: %s", indent, f.GetCode(), safe(l))
			continue
		}
		p.f("%s  %s", indent, safe(l))
	}
}

func (p *printer) annotation(a *corev1.Annotation) {
	where := ""
	if a.GetFile() != "" {
		where = safe(a.GetFile())
		if a.GetLine() > 0 {
			where += fmt.Sprintf(":%d", a.GetLine())
		}
		where += ": "
	}
	p.f("    %s: %s%s", a.GetLevel(), where, safe(a.GetMessage()))
}

func (p *printer) artifacts(all []*corev1.Artifact) {
	if len(all) == 0 {
		return
	}
	p.f("\nArtifacts")
	for _, a := range all {
		files := "files"
		if a.GetFiles() == 1 {
			files = "file"
		}
		p.f("  %s  %s, %d %s, from %s", safe(a.GetName()), size(a.GetSize()), a.GetFiles(), files, safe(a.GetJobId()))
	}
}

// tests says what the JUnit files of each artifact hold, and their sum. Tests that are in two artifacts count twice: the
// run's author published them twice.
func (p *printer) tests(all []*corev1.Artifact) {
	sum := &corev1.TestSummary{}
	var with []*corev1.Artifact
	for _, a := range all {
		t := a.GetTests()
		if t == nil {
			continue
		}
		with = append(with, a)
		sum.Tests += t.GetTests()
		sum.Failures += t.GetFailures()
		sum.Errors += t.GetErrors()
		sum.Skipped += t.GetSkipped()
		sum.DurationMs += t.GetDurationMs()
	}
	if len(with) == 0 {
		return
	}
	p.f("\nTests: %s", counts(sum))
	for _, a := range with {
		if len(with) > 1 {
			p.f("  %s: %s", safe(a.GetName()), counts(a.GetTests()))
		}
		for _, c := range a.GetTests().GetFailed() {
			p.f("  failed: %s › %s", safe(c.GetSuite()), safe(c.GetName()))
			if first, _, _ := strings.Cut(strings.TrimSpace(c.GetMessage()), "\n"); first != "" {
				p.f("          %s", safe(first))
			}
		}
	}
}

func counts(t *corev1.TestSummary) string {
	return fmt.Sprintf("%d run, %d failed, %d errors, %d skipped, %s", t.GetTests(), t.GetFailures(), t.GetErrors(), t.GetSkipped(),
		tui.Duration(time.Duration(t.GetDurationMs())*time.Millisecond))
}

// Ended is the last line of `slipway run`.
func Ended(w io.Writer, r *apiv1.Run, now time.Time) error {
	p := &printer{w: w}
	p.f("%s %s %s in %s", safe(r.GetName()), tui.Number(r), wordOf(r), took(r.GetCreatedMs(), r.GetEndedMs(), now))
	said := false
	for _, j := range r.GetJobs() {
		if f := j.GetFailure(); f != nil && (j.GetState() == corev1.JobState_JOB_STATE_FAILED || j.GetState() == corev1.JobState_JOB_STATE_TIMED_OUT) {
			p.failure("  "+tui.JobName(j)+": ", f)
			said = true
		}
	}
	p.heldJobs(r, now)
	// The run's own failure mostly repeats its jobs'.
	if f := r.GetFailure(); f != nil && !said {
		p.failure("  ", f)
	}
	p.tests(r.GetArtifacts())
	return p.err
}
