package lifecycle

import (
	"errors"
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// checkTable proves of a table: no two rows for one state and event, states never decrease outside NewAttempt rows, terminal is final, every
// state of the enum is reachable.
func checkTable[S ~int32, R, A any](t *testing.T, m *Machine[S, R, A], states map[int32]string) {
	t.Helper()
	type cell struct {
		from  S
		event Event
	}
	seen := map[cell]bool{}
	for _, r := range m.Rules {
		for _, from := range r.From {
			if seen[cell{from, r.Event}] {
				t.Errorf("%s: two rows for %d/%s", m.Name, from, r.Event)
			}
			seen[cell{from, r.Event}] = true
			if m.IsTerminal(from) {
				t.Errorf("%s: %s leaves the terminal state %d", m.Name, r.Event, from)
			}
			if r.To < from && !r.NewAttempt {
				t.Errorf("%s: %s leads down from %d to %d", m.Name, r.Event, from, r.To)
			}
		}
	}
	reached := slices.Clone(m.Initial)
	for i := 0; i < len(reached); i++ {
		for _, r := range m.Rules {
			if slices.Contains(r.From, reached[i]) && !slices.Contains(reached, r.To) {
				reached = append(reached, r.To)
			}
		}
	}
	for n, name := range states {
		if n != 0 && !slices.Contains(reached, S(n)) {
			t.Errorf("%s: %s can't be reached", m.Name, name)
		}
	}
}

func TestTables(t *testing.T) {
	checkTable(t, Run, corev1.RunState_name)
	checkTable(t, Job, corev1.JobState_name)
	checkTable(t, Attempt, corev1.AttemptState_name)
}

func TestEveryLivingStateCanEnd(t *testing.T) {
	for n := range corev1.JobState_name {
		s := corev1.JobState(n)
		if n == 0 || Job.IsTerminal(s) {
			continue
		}
		ends := Job.find(s, JobCancel) != nil || Job.find(s, JobCancelled) != nil
		if !ends {
			t.Errorf("a job in %s can't be cancelled", s)
		}
	}
	for _, s := range attemptOrder {
		if Attempt.find(s, AttemptLost) == nil || Attempt.find(s, AttemptReportDone) == nil {
			t.Errorf("an attempt in %s can't be lost or done", s)
		}
	}
}

var jobEvents = []Event{JobGate, JobReady, JobSkip, JobInvalid, JobAssign, JobStart, JobCancel, JobEvict, JobRetry, JobSucceeded, JobFailed, JobTimedOut, JobCancelled,
	JobOpen, JobCallSucceeded, JobCallFailed, JobCallCancelled, JobCallSkipped}

// TestJobNeverDecreases fires arbitrary events at a job and its attempt.
func TestJobNeverDecreases(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		job := &statev1.JobRecord{State: jobBlocked}
		for range rapid.IntRange(1, 40).Draw(t, "events") {
			before := proto.CloneOf(job)
			fireAny(t, job)
			a, b := before.GetAttempt().GetNumber(), job.GetAttempt().GetNumber()
			retried := before.GetState() > job.GetState()
			if b < a || (retried && (job.GetState() != jobQueued || !Attempt.IsTerminal(job.GetAttempt().GetState()))) {
				t.Fatalf("from %v to %v", before, job)
			}
			if a == b && job.GetAttempt().GetState() < before.GetAttempt().GetState() {
				t.Fatalf("the attempt went from %s to %s", before.GetAttempt().GetState(), job.GetAttempt().GetState())
			}
			if Job.IsTerminal(before.GetState()) && !proto.Equal(before, job) && before.GetState() != job.GetState() {
				t.Fatalf("left the terminal state %s for %s", before.GetState(), job.GetState())
			}
		}
	})
}

func fireAny(t *rapid.T, job *statev1.JobRecord) {
	if job.GetAttempt() != nil && rapid.Bool().Draw(t, "attempt") {
		r := &corev1.Report{Seq: rapid.Uint64Range(0, 5).Draw(t, "seq"), Result: corev1.Result(rapid.IntRange(0, 1).Draw(t, "result") * 10)}
		e := rapid.SampledFrom([]Event{AttemptAccept, AttemptReject, AttemptLost, AttemptReportAccepted, AttemptReportPreparing, AttemptReportRunning,
			AttemptReportCancelling, AttemptReportFinishing, AttemptReportDone}).Draw(t, "event")
		_, _ = Attempt.Fire(job.GetAttempt(), e, AttemptArgs{Report: r})
		return
	}
	args := JobArgs{Now: 1}
	if rapid.Bool().Draw(t, "with failure") {
		args.Failure = &corev1.Failure{Code: "x"}
	}
	if rapid.Bool().Draw(t, "with attempt") {
		args.Attempt = &statev1.Attempt{Number: job.GetAttempt().GetNumber() + 1, State: attemptOffered}
	}
	before := proto.CloneOf(job)
	tasks, err := Job.Fire(job, rapid.SampledFrom(jobEvents).Draw(t, "event"), args)
	var refused *RefusedError
	if err != nil && (!errors.As(err, &refused) || len(tasks) > 0 || !proto.Equal(before, job)) {
		t.Fatalf("refused with a change: %v", err)
	}
}

func TestReportsAreIdempotent(t *testing.T) {
	a := &statev1.Attempt{State: attemptAccepted}
	r := &corev1.Report{Seq: 2, State: attemptRunning, Steps: []*corev1.StepStatus{{Number: 1}}}
	if _, err := Attempt.Fire(a, ReportEvent(r.GetState()), AttemptArgs{Report: r}); err != nil {
		t.Fatal(err)
	}
	if _, err := Attempt.Fire(a, ReportEvent(r.GetState()), AttemptArgs{Report: r}); !errors.Is(err, errOldReport) {
		t.Fatalf("%v", err)
	}
	if _, err := Attempt.Fire(a, AttemptReportPreparing, AttemptArgs{Report: &corev1.Report{Seq: 3}}); err == nil {
		t.Fatal("went back to preparing")
	}
	if _, err := Attempt.Fire(a, AttemptReportDone, AttemptArgs{Report: &corev1.Report{Seq: 3}}); !errors.Is(err, errNoResult) {
		t.Fatalf("%v", err)
	}
}

func TestEveryReportStateHasItsEvent(t *testing.T) {
	for n := range corev1.AttemptState_name {
		s := corev1.AttemptState(n)
		e := ReportEvent(s)
		if e == "" {
			continue
		}
		if rule := Attempt.find(attemptOffered, e); rule == nil || rule.To != s {
			t.Errorf("%s has the event %s, which does not lead there", s, e)
		}
	}
}

func TestStarted(t *testing.T) {
	step := func(n uint32, s corev1.StepState) *statev1.Attempt {
		return &statev1.Attempt{Steps: []*corev1.StepStatus{{Number: n, State: s}}}
	}
	if Started(step(0, corev1.StepState_STEP_STATE_SUCCEEDED)) || Started(step(1, corev1.StepState_STEP_STATE_PENDING)) {
		t.Fatal("setting up is not a step of the user's")
	}
	if !Started(step(1, corev1.StepState_STEP_STATE_RUNNING)) || !Started(step(2, corev1.StepState_STEP_STATE_FAILED)) {
		t.Fatal("a step had begun")
	}
}
