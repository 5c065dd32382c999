package engine

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/coordinator/store/faultstore"
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

func TestLeaderRestartKeepsRunsAndAttempts(t *testing.T) {
	r := newRig(t)
	a := r.agent("a", 2)
	m := job("test", "build")
	m.Strategy = &planv1.Strategy{Matrix: ex("fromJSON('{\"n\":[1,2]}')"), MaxParallel: lit("1")}
	runID := r.submit(plan(job("build"), m))
	as := a.offer()
	a.running(as.GetAttemptId())
	r.clock.Advance(90 * time.Second)
	r.restart()
	r.want(runID, "running build:running test:blocked")
	// The grace begins anew: most of it had passed before.
	r.clock.Advance(90 * time.Second)
	r.want(runID, "running build:running test:blocked")
	if _, err := r.Attempt(r.ctx(), "a", as.GetAttemptId(), as.GetToken()); err != nil {
		t.Fatalf("the token is forgotten: %v", err)
	}
	if live := a.connect(as.GetAttemptId()); len(live) != 1 {
		t.Fatal(live)
	}
	a.finish(as.GetAttemptId(), success)
	r.want(runID, "running build:succeeded test.0:assigned test.1:waiting")
	leg := a.offer()
	r.restart()
	a.connect(leg.GetAttemptId())
	a.finish(leg.GetAttemptId(), success)
	r.restart()
	// The agent missed the acknowledgement, and says that it holds the finished attempt still.
	if live := a.connect(leg.GetAttemptId()); len(live) != 1 {
		t.Fatal(live)
	}
	a.seq[leg.GetAttemptId()]--
	a.finish(leg.GetAttemptId(), success)
	a.work(success)
	r.want(runID, "succeeded build:succeeded test.0:succeeded test.1:succeeded")
	if live := a.connect(leg.GetAttemptId()); len(live) != 1 {
		t.Fatal("the attempt of an ended run can't deliver its logs")
	}
	r.restart()
	if live := a.connect(leg.GetAttemptId()); len(live) != 1 {
		t.Fatal("… nor after a restart")
	}
}

// A long job's agent missed the acknowledgement of its report, and while it ran many a short run came and went.
func TestTheTailIsOfRunsThatEndedLately(t *testing.T) {
	r := newRig(t)
	a := r.agent("a", 1)
	r.submit(plan(job("long")))
	as := a.offer()
	skipped := job("skipped")
	skipped.Condition = "false"
	p := plan(skipped)
	for range 100 {
		r.submit(p)
	}
	a.finish(as.GetAttemptId(), success)
	r.settle()
	r.restart()
	if live := a.connect(as.GetAttemptId()); len(live) != 1 {
		t.Fatal("its last log bytes would be lost")
	}
	if err := a.report(as.GetAttemptId(), corev1.AttemptState_ATTEMPT_STATE_DONE, result(success)); err != nil {
		t.Fatal(err)
	}
	for range 120 {
		r.clock.Advance(time.Minute)
		r.settle()
	}
	r.restart()
	if live := a.connect(as.GetAttemptId()); len(live) != 0 {
		t.Fatal(live)
	}
}

func TestARunWithoutItsPlanStandsStillAndSaysSo(t *testing.T) {
	r := newRig(t)
	runID := r.submit(plan(job("build")))
	other := r.submit(plan(job("build")))
	r.settle()
	delete(r.plans, "sha256:0")
	r.restart()
	if _, err := r.Watch(r.ctx(), runID); rpcerr.ReasonOf(err) != rpcerr.Internal || !strings.Contains(err.Error(), "stands still") {
		t.Fatalf("%v", err)
	}
	if v := r.run(runID); v.GetState() != corev1.RunState_RUN_STATE_QUEUED {
		t.Fatalf("%v", v)
	}
	r.agent("a", 1).work(success)
	r.want(other, "succeeded build:succeeded")
	r.plans["sha256:0"] = plan(job("build"))
	r.restart()
	r.agent("a", 1).work(success)
	r.want(runID, "succeeded build:succeeded")
}

func TestOfferOfADeadLeaderIsMadeAgain(t *testing.T) {
	r := newRig(t)
	a := r.agent("a", 1)
	runID := r.submit(plan(job("build")))
	first := a.offer()
	r.restart()
	a.connect() // it never saw the offer
	second := a.offer()
	if second.GetAttempt() != 2 || second.GetAttemptId() == first.GetAttemptId() || second.GetToken() == first.GetToken() {
		t.Fatalf("%v", second)
	}
	a.finish(second.GetAttemptId(), success)
	r.want(runID, "succeeded build:succeeded")
}

func TestCreationIsFinishedByTheNextLeader(t *testing.T) {
	for stored := 1; stored < 5; stored++ {
		t.Run(fmt.Sprint(stored, " of 5 transactions"), func(t *testing.T) {
			r := newRig(t)
			m := job("test")
			m.Strategy = &planv1.Strategy{Matrix: ex(`fromJSON('{"a":[0,1,2,3,4,5,6,7,8,9],"b":[0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19]}')`)}
			s := r.submission(plan(m))
			for range stored {
				r.store.Plan(faultstore.None)
			}
			r.store.Plan(faultstore.Held)
			failed := make(chan error, 1)
			go func() {
				_, _, err := r.Submit(r.ctx(), s)
				failed <- err
			}()
			<-r.store.Holding()
			r.restart()
			if err := <-failed; rpcerr.ReasonOf(err) != rpcerr.NotLeader {
				t.Fatalf("%v", err)
			}
			runID, n, err := r.Submit(r.ctx(), s)
			if err != nil || n != 1 {
				t.Fatalf("%d %v", n, err)
			}
			r.settle()
			v := r.run(runID)
			if len(v.GetJobs()) != 200 || v.GetState() != corev1.RunState_RUN_STATE_QUEUED {
				t.Fatalf("%d jobs in a run that is %s", len(v.GetJobs()), v.GetState())
			}
		})
	}
}

func TestUnknownOutcomesChangeNothing(t *testing.T) {
	kinds := []faultstore.Fault{faultstore.Refused, faultstore.UnknownLost, faultstore.UnknownDone, faultstore.UnknownLater}
	for _, kind := range kinds {
		t.Run(fmt.Sprint(kind), func(t *testing.T) {
			r := newRig(t)
			r.passTime()
			for range 40 {
				r.store.Plan(kind, faultstore.None)
			}
			a := r.agent("a", 2)
			s := r.submission(plan(job("one"), job("two", "one")))
			runID, n, err := r.Submit(r.ctx(), s)
			if err != nil || n != 1 {
				t.Fatalf("%d %v", n, err)
			}
			r.Heartbeat("a", a.session, 1)
			a.work(success)
			r.Heartbeat("a", a.session, 1)
			if as := a.offer(); as.GetAttempt() != 1 {
				t.Fatalf("%v", as)
			} else {
				a.finish(as.GetAttemptId(), success)
			}
			if again, _, err := r.Submit(r.ctx(), s); err != nil || again != runID {
				t.Fatalf("%s %v", again, err)
			}
			r.want(runID, "succeeded one:succeeded two:succeeded")
		})
	}
}

func TestAFencedLeaderStepsDown(t *testing.T) {
	r := newRig(t)
	a := r.agent("a", 1)
	runID := r.submit(plan(job("build")))
	as := a.offer()
	old := r.Engine
	watch, err := old.Watch(r.ctx(), runID)
	if err != nil {
		t.Fatal(err)
	}
	r.lead()
	if err := old.Report(r.ctx(), a.session, &corev1.Report{AttemptId: as.GetAttemptId(), Seq: 1, State: corev1.AttemptState_ATTEMPT_STATE_RUNNING}); rpcerr.ReasonOf(err) != rpcerr.NotLeader {
		t.Fatalf("%v", err)
	}
	<-old.Done()
	for range watch {
	}
	if _, err := old.Run(r.ctx(), runID); rpcerr.ReasonOf(err) != rpcerr.NotLeader {
		t.Fatalf("%v", err)
	}
	old.Close()
	a.connect(as.GetAttemptId())
	a.finish(as.GetAttemptId(), success)
	r.want(runID, "succeeded build:succeeded")
}
