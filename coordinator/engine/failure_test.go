package engine

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/internal/rpcerr"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

func (r *rig) cancel(runID string) {
	r.t.Helper()
	if err := r.Cancel(r.ctx(), "req", runID, "by ada"); err != nil {
		r.t.Fatal(err)
	}
}

func TestCancelInEachPhase(t *testing.T) {
	t.Run("queued", func(t *testing.T) {
		r := newRig(t)
		runID := r.submit(plan(job("build"), job("test", "build")))
		r.cancel(runID)
		r.want(runID, "cancelled build:cancelled test:cancelled")
		r.cancel(runID) // ended: nothing to do
		if m := r.run(runID).GetFailure().GetMessage(); m != "the run was cancelled: by ada" {
			t.Fatal(m)
		}
	})
	for _, phase := range []string{"offered", "accepted", "running"} {
		t.Run(phase, func(t *testing.T) {
			r := newRig(t)
			a := r.agent("a", 1)
			runID := r.submit(plan(job("build"), job("test", "build")))
			as := a.offer()
			if phase != "offered" {
				a.accept(as.GetAttemptId())
			}
			if phase == "running" {
				a.running(as.GetAttemptId())
			}
			r.cancel(runID)
			if a.cancelled() != as.GetAttemptId() {
				t.Fatal("another attempt was cancelled")
			}
			r.want(runID, "cancelling build:cancelling test:blocked")
			if err := a.report(as.GetAttemptId(), corev1.AttemptState_ATTEMPT_STATE_CANCELLING); err != nil {
				t.Fatal(err)
			}
			a.finish(as.GetAttemptId(), cancelled)
			r.want(runID, "cancelled build:cancelled test:cancelled")
		})
	}
	t.Run("offered and then rejected", func(t *testing.T) {
		r := newRig(t)
		a := r.agent("a", 1)
		runID := r.submit(plan(job("build")))
		as := a.offer()
		r.cancel(runID)
		if err := r.OfferReply(r.ctx(), a.session, &fleetv1.OfferReply{AttemptId: as.GetAttemptId()}); err != nil {
			t.Fatal(err)
		}
		r.want(runID, "cancelled build:cancelled")
	})
	t.Run("too late", func(t *testing.T) {
		r := newRig(t)
		a := r.agent("a", 1)
		runID := r.submit(plan(job("build")))
		as := a.offer()
		r.cancel(runID)
		a.finish(as.GetAttemptId(), success)
		r.want(runID, "succeeded build:succeeded")
	})
}

func TestCancelLetsAlwaysRun(t *testing.T) {
	r := newRig(t)
	a := r.agent("a", 3)
	cleanup, onCancel, running := job("cleanup", "build"), job("told", "build"), job("keep")
	cleanup.Condition, onCancel.Condition, running.Condition = "always()", "cancelled()", "always()"
	runID := r.submit(plan(job("build"), running, cleanup, onCancel, job("test", "build")))
	build, keep := a.offer(), a.offer()
	r.cancel(runID)
	r.want(runID, "cancelling build:cancelling keep:assigned cleanup:blocked told:blocked test:blocked")
	a.finish(build.GetAttemptId(), cancelled)
	r.want(runID, "cancelling build:cancelled keep:assigned cleanup:assigned told:assigned test:cancelled")
	a.finish(keep.GetAttemptId(), success)
	a.work(success)
	a.work(success)
	r.want(runID, "cancelled build:cancelled keep:succeeded cleanup:succeeded told:succeeded test:cancelled")
}

func TestAgentComesBackWithinItsGrace(t *testing.T) {
	r := newRig(t)
	a := r.agent("a", 2)
	runID := r.submit(plan(job("one"), job("two")))
	one, two := a.offer(), a.offer()
	a.running(one.GetAttemptId())
	old := a.session
	r.Disconnect("a", old)
	r.clock.Advance(time.Minute)
	r.want(runID, "running one:running two:assigned")
	agents, err := r.Agents(r.ctx())
	if err != nil || agents[0].GetState() != "absent" {
		t.Fatalf("%v %v", agents, err)
	}
	// It holds the first and knows nothing of the second, whose offer was lost on the way.
	if live := a.connect(one.GetAttemptId(), "unknown"); fmt.Sprint(live) != fmt.Sprint([]string{one.GetAttemptId()}) {
		t.Fatal(live)
	}
	if a.killed() != two.GetAttemptId() {
		t.Fatal("the lost attempt is not killed")
	}
	again := a.offer()
	if again.GetJobId() != "two" || again.GetAttempt() != 2 {
		t.Fatalf("%v", again)
	}
	if err := r.Report(r.ctx(), old, &corev1.Report{AttemptId: one.GetAttemptId(), Seq: 9}); rpcerr.ReasonOf(err) != rpcerr.SessionEnded {
		t.Fatalf("the old session still speaks, or its attempt is taken for fenced: %v", err)
	}
	if err := a.report(two.GetAttemptId(), corev1.AttemptState_ATTEMPT_STATE_RUNNING); rpcerr.ReasonOf(err) != rpcerr.Fenced {
		t.Fatalf("%v", err)
	}
	a.finish(one.GetAttemptId(), success)
	a.finish(again.GetAttemptId(), success)
	r.want(runID, "succeeded one:succeeded two:succeeded")
}

func TestAgentIsLost(t *testing.T) {
	r := newRig(t)
	a := r.agent("a", 3)
	again := job("again")
	again.Retry = &planv1.Retry{Attempts: 2, On: []string{"lost"}}
	runID := r.submit(plan(job("begun"), job("fresh"), again))
	begun, fresh, third := a.offer(), a.offer(), a.offer()
	a.running(begun.GetAttemptId())
	a.running(third.GetAttemptId())
	// No disconnect: the heartbeats stop.
	r.clock.Advance(30 * time.Second)
	r.settle()
	r.clock.Advance(2 * time.Minute)
	r.want(runID, "running begun:failed fresh:queued again:queued")
	v := r.run(runID)
	if f := v.GetJobs()[0].GetFailure(); f.GetCode() != "lost" || f.GetFault() != corev1.Fault_FAULT_SYSTEM {
		t.Fatalf("%v", f)
	}
	b := r.agent("b", 3)
	if n := []string{b.work(success), b.work(success)}; n[0] == n[1] {
		t.Fatal(n)
	}
	r.want(runID, "failed begun:failed fresh:succeeded again:succeeded")
	// The late agent is told that nothing of it lives.
	if live := a.connect(begun.GetAttemptId(), fresh.GetAttemptId()); len(live) != 0 {
		t.Fatal(live)
	}
	if err := a.report(begun.GetAttemptId(), corev1.AttemptState_ATTEMPT_STATE_DONE, result(success)); rpcerr.ReasonOf(err) != rpcerr.Fenced {
		t.Fatalf("%v", err)
	}
	r.want(runID, "failed begun:failed fresh:succeeded again:succeeded")
}

func TestLostWhileCancellingIsCancelled(t *testing.T) {
	r := newRig(t)
	a := r.agent("a", 1)
	runID := r.submit(plan(job("build")))
	a.running(a.offer().GetAttemptId())
	r.cancel(runID)
	r.Disconnect("a", a.session)
	r.settle()
	r.clock.Advance(3 * time.Minute)
	r.want(runID, "cancelled build:cancelled")
}

func TestHeartbeatsKeepASession(t *testing.T) {
	r := newRig(t)
	a := r.agent("a", 1)
	for range 10 {
		r.clock.Advance(20 * time.Second)
		r.Heartbeat("a", a.session, 1)
		r.settle()
	}
	if agents, err := r.Agents(r.ctx()); err != nil || agents[0].GetState() != "online" {
		t.Fatalf("%v %v", agents, err)
	}
	r.clock.Advance(time.Hour)
	r.settle()
	if agents, err := r.Agents(r.ctx()); err != nil || agents[0].GetState() != "offline" {
		t.Fatalf("%v %v", agents, err)
	}
}

// A session that the engine gave up must not go on beside it: its heartbeats would be in vain, and its attempts lost while their agent is there.
func TestASessionThatIsGivenUpIsEnded(t *testing.T) {
	r := newRig(t)
	a := r.agent("a", 1)
	r.clock.Advance(30 * time.Second)
	if e := a.endings(); len(e) != 1 || rpcerr.ReasonOf(e[0]) != rpcerr.SessionEnded {
		t.Fatalf("silent: %v", e)
	}
	a.connect()
	a.connect()
	if e := a.endings(); len(e) != 2 || rpcerr.ReasonOf(e[1]) != rpcerr.SessionEnded {
		t.Fatalf("replaced: %v", e)
	}
	if agents, err := r.Agents(r.ctx()); err != nil || agents[0].GetState() != "online" {
		t.Fatalf("%v %v", agents, err)
	}
}

func TestWaitingExplainsItself(t *testing.T) {
	r := newRig(t)
	runID := r.submit(plan(job("build")))
	r.settle()
	if why := r.run(runID).GetJobs()[0].GetReason(); why != "no agent has joined yet" {
		t.Fatal(why)
	}
	gpu := job("gpu")
	gpu.Pool = []*planv1.Value{lit("gpu")}
	runID = r.submit(plan(gpu))
	a := r.agent("a", 1)
	a.offer()
	r.settle()
	if why := r.run(runID).GetJobs()[0].GetReason(); !strings.Contains(why, "lacks the label gpu") {
		t.Fatal(why)
	}
	b := r.agent("b", 1, "gpu")
	if b.offer().GetJobId() != "gpu" {
		t.Fatal("not placed")
	}
}
