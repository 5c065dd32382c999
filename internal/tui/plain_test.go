package tui

import (
	"strings"
	"testing"

	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// watched returns a Plain that has seen a run with two queued jobs, and what it writes from then on.
func watched() (*Plain, *apiv1.Run, *strings.Builder) {
	b := new(strings.Builder)
	p := NewPlain(b, false, false)
	r := &apiv1.Run{Id: "r", Number: 1, Name: "CI", State: corev1.RunState_RUN_STATE_QUEUED, Jobs: []*apiv1.Job{
		{Id: "a", Key: "a", State: corev1.JobState_JOB_STATE_QUEUED}, {Id: "b", Key: "b", State: corev1.JobState_JOB_STATE_QUEUED}}}
	p.Run(r)
	b.Reset()
	return p, r, b
}

func output(step uint32, text string) *apiv1.StreamLogsResponse {
	return &apiv1.StreamLogsResponse{JobId: "a", AttemptId: "a1", Step: step, Data: []byte(text)}
}

func TestPlainSaysOnceWhyJobsWait(t *testing.T) {
	p, r, b := watched()
	r.Jobs[0].Reason, r.Jobs[1].Reason = "no agent can take it", "no agent can take it"
	p.Run(r)
	p.Run(r)
	r.Jobs[1].Reason = "another reason"
	p.Run(r)
	if got, want := b.String(), "a > queued: no agent can take it\nb > queued: another reason\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestPlainOutputFollowsItsStepsName(t *testing.T) {
	p, r, b := watched()
	p.Log("r", output(0, "preparing\n"))
	p.Log("r", output(1, "one\n"))
	p.Log("r", output(2, "two\n"))
	p.Tick()
	if got, want := b.String(), "a > Set up job\na | preparing\n"; got != want {
		t.Fatalf("before the name came: %q, want %q", got, want)
	}
	b.Reset()
	r.Jobs[0].Steps = []*corev1.StepStatus{{Number: 1, Name: "First"}}
	p.Run(r)
	if got, want := b.String(), "a > First\na | one\n"; got != want {
		t.Fatalf("after the first name: %q, want %q", got, want)
	}
	b.Reset()
	r.Jobs[0].Steps = append(r.Jobs[0].Steps, &corev1.StepStatus{Number: 2, Name: "Second"})
	r.Jobs[0].State = corev1.JobState_JOB_STATE_SUCCEEDED
	p.Run(r)
	if got, want := b.String(), "a > Second\na | two\na > succeeded\n"; got != want {
		t.Errorf("at the end: %q, want %q", got, want)
	}
}

func TestPlainOutputDoesNotWaitForEver(t *testing.T) {
	p, _, b := watched()
	p.Log("r", output(1, "one\n"))
	p.Tick()
	p.Tick()
	if got := b.String(); got != "a | one\n" {
		t.Errorf("after two ticks: %q", got)
	}
	big := strings.Repeat("x", maxHeld+1) + "\n"
	p.Log("r", output(2, big))
	if !strings.HasSuffix(b.String(), big) {
		t.Error("much output waits")
	}
	p.Log("r", output(3, "last\n"))
	p.Close()
	if !strings.HasSuffix(b.String(), "a | last\n") {
		t.Errorf("lost at the end: %q", b.String()[max(0, b.Len()-50):])
	}
}

// TestPlainSaysWhatWasKept: a job that an earlier attempt ran does not look as if it ran now.
func TestPlainSaysWhatWasKept(t *testing.T) {
	b := new(strings.Builder)
	p := NewPlain(b, false, false)
	r := &apiv1.Run{Id: "r", Number: 3, Attempt: 2, Name: "CI", Jobs: []*apiv1.Job{
		{Id: "a", State: corev1.JobState_JOB_STATE_SUCCEEDED, KeptAttempt: 1, Attempt: 2, StartedMs: 1, EndedMs: 5000, Agent: "h"},
		{Id: "b", State: corev1.JobState_JOB_STATE_RUNNING}}}
	p.Run(r)
	if got, want := b.String(), "CI #3.2 > run r, \na > succeeded, kept from attempt 1 of the run\nb > running\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	b.Reset()
	logs := NewPlain(b, false, false)
	logs.Learn(r)
	logs.Log("r", output(0, "one\n"))
	logs.Log("r", output(0, "two\n"))
	if got, want := b.String(), "a > kept from attempt 1 of the run\na > Set up job\na | one\na | two\n"; got != want {
		t.Errorf("logs: %q, want %q", got, want)
	}
}
