package engine

import (
	"slices"
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/coordinator/store/faultstore"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// dieAfterOne lets the first transaction that do causes through, holds the second, and changes the leader then.
func (r *rig) dieAfterOne(do func()) {
	r.t.Helper()
	r.settle()
	r.store.Plan(faultstore.None, faultstore.Held)
	returned := make(chan struct{})
	go func() {
		defer close(returned)
		do()
	}()
	<-r.store.Holding()
	r.restart()
	<-returned
}

func (r *rig) count(runID string, s corev1.JobState) (n int) {
	r.t.Helper()
	r.settle()
	for _, j := range r.run(runID).GetJobs() {
		if j.GetState() == s {
			n++
		}
	}
	return n
}

func TestASkipHalfStoredIsFinishedByTheNextLeader(t *testing.T) {
	r := newRig(t)
	a := r.agent("a", 1)
	wide := legs(job("wide", "a"), 60)
	wide.Condition = "failure()"
	id := r.submit(plan(job("a"), wide))
	as := a.offer()
	a.accept(as.GetAttemptId())
	a.running(as.GetAttemptId())
	r.dieAfterOne(func() { _ = a.report(as.GetAttemptId(), corev1.AttemptState_ATTEMPT_STATE_DONE, result(success)) })
	if n := r.count(id, corev1.JobState_JOB_STATE_SKIPPED); n != 60 {
		t.Fatalf("%d of 60 legs are skipped: %s", n, r.states(id))
	}
	if s := r.states(id); !strings.HasPrefix(s, "succeeded a:succeeded") {
		t.Fatal(s)
	}
}

func TestACancelHalfStoredIsFinishedByTheNextLeader(t *testing.T) {
	r := newRig(t)
	a := r.agent("a", 1)
	id := r.submit(plan(legs(job("wide"), 100)))
	// One leg runs, so the run does not end with the cancel, and what is stored first says that it was asked for.
	as := a.offer()
	a.accept(as.GetAttemptId())
	a.running(as.GetAttemptId())
	r.dieAfterOne(func() { _ = r.Cancel(t.Context(), "c", id, "enough") })
	cancelled, cancelling := r.count(id, corev1.JobState_JOB_STATE_CANCELLED), r.count(id, corev1.JobState_JOB_STATE_CANCELLING)
	if cancelled != 99 || cancelling != 1 {
		t.Fatalf("%d legs are cancelled, %d are being cancelled: %s", cancelled, cancelling, r.states(id))
	}
}

func TestWhatIsBlockedForAMomentSaysWhy(t *testing.T) {
	const blocked, skipped, running = corev1.JobState_JOB_STATE_BLOCKED, corev1.JobState_JOB_STATE_SKIPPED, corev1.JobState_JOB_STATE_RUNNING
	v := &apiv1.Run{State: corev1.RunState_RUN_STATE_RUNNING, Jobs: []*apiv1.Job{
		{Id: "a", Key: "a", State: corev1.JobState_JOB_STATE_SUCCEEDED},
		{Id: "wide.0", Key: "wide", State: skipped, Needs: []string{"a"}},
		{Id: "wide.1", Key: "wide", State: blocked, Needs: []string{"a"}},
		{Id: "last", Key: "last", State: blocked, Needs: []string{"a", "wide"}},
		{Id: "other", Key: "other", State: running},
		{Id: "later", Key: "later", State: blocked, Needs: []string{"other"}},
		{Id: "told", Key: "told", State: blocked, Reason: "as it says"},
	}}
	explainBlocked(v)
	var got []string
	for _, j := range v.GetJobs() {
		got = append(got, j.GetReason())
	}
	if want := []string{"", "", decided, "", "", "", "as it says"}; !slices.Equal(got, want) {
		t.Fatalf("%q", got)
	}
	v = &apiv1.Run{State: corev1.RunState_RUN_STATE_WAITING, Jobs: []*apiv1.Job{{Id: "a", Key: "a", State: blocked}}}
	if explainBlocked(v); v.GetJobs()[0].GetReason() != "" {
		t.Fatal("the run says what it waits for")
	}
}
