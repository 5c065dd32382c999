package engine

import (
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/coordinator/store/faultstore"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

func (r *rig) drain(name string, deadline time.Duration, reason string) *apiv1.Agent {
	r.t.Helper()
	a, err := r.DrainAgent(r.ctx(), DrainRequest{RequestID: r.ids.New(), Agent: name, Deadline: deadline, By: "ada", Reason: reason})
	if err != nil {
		r.t.Fatal(err)
	}
	return a
}

func (r *rig) show(name string) *apiv1.Agent {
	r.t.Helper()
	r.settle()
	a, err := r.Agent(r.ctx(), name)
	if err != nil {
		r.t.Fatal(err)
	}
	return a
}

// advance passes time while the agents give signs of life.
func (r *rig) advance(d time.Duration, alive ...*fakeAgent) {
	r.t.Helper()
	for ; d > 0; d -= time.Second {
		r.clock.Advance(min(d, time.Second))
		for _, a := range alive {
			r.Heartbeat(a.id, a.session, 1<<30)
		}
		r.settle()
	}
}

func TestADrainedAgentIsGivenNothingAndSaysWhy(t *testing.T) {
	r := newRig(t)
	a := r.agent("a1", 2)
	first := r.submit(plan(job("one")))
	as := a.offer()
	a.accept(as.GetAttemptId())
	a.running(as.GetAttemptId())
	got := r.drain("a1", 30*time.Minute, "kernel update")
	if got.GetSchedule() != "draining" || len(got.GetWork()) != 1 || got.GetWork()[0].GetJobId() != "one" || got.GetDrain().GetDeadlineMs() != r.nowMS()+30*60_000 {
		t.Errorf("it answers %v", got)
	}
	second := r.submit(plan(job("two")))
	r.want(second, "queued two:queued")
	want := "agent a1 is draining since 2023-11-14T22:13:20Z by ada: kernel update"
	if why := r.run(second).GetJobs()[0].GetReason(); !strings.Contains(why, want) {
		t.Errorf("the job waits because %q, want %q in it", why, want)
	}
	// What runs goes on; when it has ended, the agent is drained: first the coordinator sees the result, then the agent has cleaned up.
	r.AgentCondition("a1", a.session, 1, nil)
	a.finish(as.GetAttemptId(), success)
	r.want(first, "succeeded one:succeeded")
	r.advance(2*time.Second, a)
	if s := r.show("a1").GetSchedule(); s != "draining" {
		t.Errorf("while the agent cleans up it is %s", s)
	}
	r.AgentCondition("a1", a.session, 0, nil)
	r.advance(2*time.Second, a)
	if g := r.show("a1"); g.GetSchedule() != "drained" || g.GetDrain().GetDrainedMs() == 0 || a.offers() != 0 {
		t.Errorf("when it has: %v, %d offers", g, a.offers())
	}
	// It lasts: through another leader, and through another session.
	r.restart()
	a.connect()
	r.advance(2*time.Second, a)
	if g := r.show("a1"); g.GetSchedule() != "drained" || a.offers() != 0 {
		t.Errorf("under the next leader: %v, %d offers", g, a.offers())
	}
	if _, err := r.ResumeAgent(r.ctx(), "a1"); err != nil {
		t.Fatal(err)
	}
	a.work(success)
	r.want(second, "succeeded two:succeeded")
}

func TestDrainIsRepeatable(t *testing.T) {
	r := newRig(t)
	r.agent("a1", 1)
	ask := DrainRequest{RequestID: "same", Agent: "a1", Deadline: time.Hour, By: "ada"}
	first, err := r.DrainAgent(r.ctx(), ask)
	if err != nil {
		t.Fatal(err)
	}
	r.clock.Advance(5 * time.Second)
	again, err := r.DrainAgent(r.ctx(), ask)
	if err != nil || again.GetDrain().GetDeadlineMs() != first.GetDrain().GetDeadlineMs() {
		t.Errorf("a repeat moved the deadline: %v, then %v, %v", first.GetDrain(), again.GetDrain(), err)
	}
	// Another call gives another deadline; since when it drains stays.
	other := r.drain("a1", 2*time.Hour, "longer")
	if other.GetDrain().GetSinceMs() != first.GetDrain().GetSinceMs() || other.GetDrain().GetDeadlineMs() != r.nowMS()+2*3600_000 {
		t.Errorf("another deadline: %v", other.GetDrain())
	}
}

func TestAtTheDeadlineJobsAreCancelledInOrder(t *testing.T) {
	retry := &planv1.Retry{Attempts: 3, On: []string{"lost"}}
	for _, tt := range []struct {
		name  string
		begun bool
		retry *planv1.Retry
		want  string
	}{
		{"no step had begun", false, nil, "running j:assigned"},
		{"steps had begun and may be repeated", true, retry, "running j:assigned"},
		{"steps had begun", true, nil, "failed j:failed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			a := r.agent("a1", 1)
			j := job("j")
			j.Retry = tt.retry
			runID := r.submit(plan(j))
			as := a.offer()
			a.accept(as.GetAttemptId())
			if tt.begun {
				a.running(as.GetAttemptId())
			} else if err := a.report(as.GetAttemptId(), corev1.AttemptState_ATTEMPT_STATE_PREPARING); err != nil {
				t.Fatal(err)
			}
			b := r.agent("b2", 1)
			r.drain("a1", 10*time.Second, "")
			r.advance(9*time.Second, a, b)
			if n := len(a.got); n != 0 {
				t.Fatalf("told something before the deadline: %v", a.got)
			}
			r.advance(2*time.Second, a, b)
			if id := a.cancelled(); id != as.GetAttemptId() {
				t.Fatalf("cancelled %s", id)
			}
			// Told once; asked again only in a new session.
			r.advance(2*time.Second, a, b)
			if len(a.got) != 0 {
				t.Errorf("told again: %v", a.got)
			}
			a.connect(as.GetAttemptId())
			a.cancelled()
			// A leader that takes over knows that it was evicted.
			r.restart()
			a.connect(as.GetAttemptId())
			b.connect()
			a.cancelled()
			a.finish(as.GetAttemptId(), cancelled, func(rep *corev1.Report) {
				if !tt.begun {
					rep.Steps = nil
				}
			})
			r.want(runID, tt.want)
			f := r.run(runID).GetJobs()[0].GetFailure()
			if tt.begun && tt.retry == nil {
				if f.GetCode() != "drained" || f.GetFault() != corev1.Fault_FAULT_SYSTEM || !strings.Contains(f.GetMessage(), "agent a1 was drained by ada") {
					t.Errorf("failure %v", f)
				}
				return
			}
			if got := b.offer(); got.GetAttempt() != 2 {
				t.Errorf("the other agent got attempt %d", got.GetAttempt())
			}
		})
	}
}

func TestAnEvictedJobThatEndsInTimeKeepsItsResult(t *testing.T) {
	r := newRig(t)
	a := r.agent("a1", 2)
	runID := r.submit(plan(job("good"), job("stopped")))
	ids := map[string]string{}
	for range 2 {
		as := a.offer()
		ids[as.GetJobId()] = as.GetAttemptId()
		a.accept(as.GetAttemptId())
		a.running(as.GetAttemptId())
	}
	r.drain("a1", time.Second, "")
	r.advance(2*time.Second, a)
	a.cancelled()
	a.cancelled()
	a.finish(ids["good"], success)
	// Somebody cancels the run as well: that is what the other one is told to have ended by.
	if err := r.Cancel(r.ctx(), r.ids.New(), runID, "enough"); err != nil {
		t.Fatal(err)
	}
	a.finish(ids["stopped"], cancelled)
	r.want(runID, "cancelled good:succeeded stopped:cancelled")
}

func TestAnAgentThatStopsDrainsByItself(t *testing.T) {
	r := newRig(t)
	a := r.agent("a1", 2)
	runID := r.submit(plan(job("one")))
	as := a.offer()
	a.accept(as.GetAttemptId())
	a.running(as.GetAttemptId())
	r.AgentDrains("a1", a.session, &fleetv1.Drain{DeadlineMs: 2000, Reason: "told to stop"})
	r.settle()
	second := r.submit(plan(job("two")))
	r.want(second, "queued two:queued")
	if _, err := r.ResumeAgent(r.ctx(), "a1"); rpcerr.ReasonOf(err) != rpcerr.InUse {
		t.Errorf("resuming an agent that stops: %v", err)
	}
	// Its deadline is its own: it leaves, and the job lives on.
	r.advance(5*time.Second, a)
	if len(a.got) != 0 {
		t.Errorf("told %v", a.got)
	}
	r.Disconnect("a1", a.session)
	r.advance(3 * time.Second)
	if live := a.connect(as.GetAttemptId()); len(live) != 1 {
		t.Fatalf("live %v", live)
	}
	a.work(success)
	a.finish(as.GetAttemptId(), success)
	r.want(runID, "succeeded one:succeeded")
	r.want(second, "succeeded two:succeeded")
	// An operator's drain is stronger than the agent's word.
	r.drain("a1", 0, "disk")
	a.connect()
	if g := r.show("a1"); g.GetDrain().GetBy() != "ada" || g.GetDrain().GetOwn() || g.GetDrain().GetDeadlineMs() != 0 {
		t.Errorf("after another connection: %v", g.GetDrain())
	}
}

func TestAgentsAreFoundByWhatPeopleCallThem(t *testing.T) {
	r := newRig(t)
	for _, id := range []string{"aa1", "aa2", "bb3"} {
		r.agent(id, 1)
	}
	for name, want := range map[string]string{"aa1": "aa1", "AA1": "aa1", "b": "bb3", "bb3": "bb3"} {
		if got := r.show(name).GetId(); got != want {
			t.Errorf("%s is %s, want %s", name, got, want)
		}
	}
	for name, want := range map[string]rpcerr.Reason{"aa": rpcerr.InvalidRequest, "zz": rpcerr.NotFound, "": rpcerr.InvalidRequest} {
		if _, err := r.Agent(r.ctx(), name); rpcerr.ReasonOf(err) != want {
			t.Errorf("%q: %v, want %s", name, err, want)
		}
	}
	if _, err := r.Agent(r.ctx(), "aa"); !strings.Contains(rpcerr.Message(err), "aa1 (aa1), aa2 (aa2)") {
		t.Errorf("it does not say which: %v", err)
	}
}

func TestRemovingAnAgent(t *testing.T) {
	r := newRig(t)
	a := r.agent("a1", 2)
	runID := r.submit(plan(job("one")))
	as := a.offer()
	a.accept(as.GetAttemptId())
	a.running(as.GetAttemptId())
	ask := RemoveRequest{RequestID: r.ids.New(), Agent: "a1", By: "ada"}
	if _, err := r.RemoveAgent(r.ctx(), RemoveRequest{RequestID: "prefix", Agent: "a", By: "ada", Force: true}); rpcerr.ReasonOf(err) != rpcerr.NotFound {
		t.Errorf("the beginning of a name removed an agent: %v", err)
	}
	if _, err := r.RemoveAgent(r.ctx(), ask); rpcerr.ReasonOf(err) != rpcerr.InUse || !strings.Contains(rpcerr.Message(err), "one of run #1") {
		t.Errorf("an agent with jobs: %v", err)
	}
	ask.Force = true
	for range 2 { // a repeat answers the same
		if id, err := r.RemoveAgent(r.ctx(), ask); err != nil || id != "a1" {
			t.Fatalf("%s, %v", id, err)
		}
	}
	if id := a.killed(); id != as.GetAttemptId() {
		t.Errorf("killed %s", id)
	}
	if ends := a.endings(); len(ends) != 1 || rpcerr.ReasonOf(ends[0]) != rpcerr.PermissionDenied {
		t.Errorf("its session ended with %v", ends)
	}
	r.want(runID, "failed one:failed")
	if f := r.run(runID).GetJobs()[0].GetFailure(); f.GetCode() != "lost" || !strings.Contains(f.GetMessage(), "removed by ada") {
		t.Errorf("failure %v", f)
	}
	refused := func() {
		t.Helper()
		_, err := r.Connect(r.ctx(), Session{ID: r.ids.New(), AgentID: "a1", Capacity: &fleetv1.Capacity{Slots: 1}}, a)
		if rpcerr.ReasonOf(err) != rpcerr.PermissionDenied {
			t.Errorf("it connects again: %v", err)
		}
		if all, err := r.Agents(r.ctx()); err != nil || len(all) != 0 {
			t.Errorf("it is listed: %v, %v", all, err)
		}
	}
	refused()
	r.restart()
	refused()
	// When no certificate of it can be good any more, it is forgotten that it was there.
	r.clock.Advance(removedFor + time.Second)
	r.restart()
	r.settle()
	if kvs, _, err := r.store.Range(r.ctx(), removedPrefix, removedPrefix+"\xff", 0); err != nil || len(kvs) > 1 {
		t.Errorf("left: %v, %v", kvs, err)
	}
	if len(r.removed) != 0 {
		t.Errorf("remembered: %v", r.removed)
	}
}

// TestADrainSurvivesWhatTheStoreDoes commits drains through a store whose answers get lost.
func TestADrainSurvivesWhatTheStoreDoes(t *testing.T) {
	r := newRig(t)
	r.agent("a1", 1)
	r.settle()
	r.passTime()
	r.store.Plan(faultstore.UnknownDone, faultstore.UnknownLost)
	r.drain("a1", time.Hour, "")
	if _, err := r.ResumeAgent(r.ctx(), "a1"); err != nil {
		t.Fatal(err)
	}
	if g := r.show("a1"); g.GetDrain() != nil || g.GetSchedule() != "schedulable" {
		t.Errorf("resumed: %v", g)
	}
}
