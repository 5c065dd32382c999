package engine

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/coordinator/store/faultstore"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

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
