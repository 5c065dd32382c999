package engine

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/coordinator/store"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

const lease = 20 * time.Minute

// holding submits a run that holds the pods of jobs that fail.
func (r *rig) holding(p *planv1.Plan) string {
	r.t.Helper()
	s := r.submission(p)
	s.Hold = lease
	runID, _, err := r.Submit(r.ctx(), s)
	if err != nil {
		r.t.Fatal(err)
	}
	return runID
}

func keepsPod(rep *corev1.Report) { rep.HeldMs = lease.Milliseconds() }

// failHeld takes the next offer to a failure whose pod the agent holds, and returns the attempt.
func (a *fakeAgent) failHeld() string {
	a.r.t.Helper()
	as := a.offer()
	if as.GetHoldMs() != lease.Milliseconds() {
		a.r.t.Fatalf("the agent is to hold the pod for %d ms", as.GetHoldMs())
	}
	a.accept(as.GetAttemptId())
	a.running(as.GetAttemptId())
	a.finish(as.GetAttemptId(), failure, keepsPod)
	return as.GetAttemptId()
}

// hold is the next word about a hold.
func (a *fakeAgent) hold() *fleetv1.Hold {
	a.r.t.Helper()
	return take(a, func(m *fleetv1.SessionResponse) (*fleetv1.Hold, bool) { return m.GetHold(), m.GetHold() != nil })
}

func (a *fakeAgent) attach() *fleetv1.Attach {
	a.r.t.Helper()
	return take(a, func(m *fleetv1.SessionResponse) (*fleetv1.Attach, bool) { return m.GetAttach(), m.GetAttach() != nil })
}

// view is the job as people see it.
func (r *rig) job(runID, jobID string) *apiv1.Job {
	r.t.Helper()
	r.settle()
	jobs := r.run(runID).GetJobs()
	i := slices.IndexFunc(jobs, func(j *apiv1.Job) bool { return j.GetId() == jobID })
	if i < 0 {
		r.t.Fatalf("no job %s in %v", jobID, jobs)
	}
	return jobs[i]
}

// isLive says whether the store counts a run among those to be loaded.
func (r *rig) isLive(runID string) bool {
	r.t.Helper()
	_, found, err := r.store.Get(r.ctx(), liveKey(runID))
	if err != nil {
		r.t.Fatal(err)
	}
	return found
}

func (r *rig) slots() uint32 {
	r.t.Helper()
	r.settle()
	agents, err := r.Agents(r.ctx())
	if err != nil || len(agents) != 1 {
		r.t.Fatalf("%v %v", agents, err)
	}
	return agents[0].GetSlotsUsed()
}

// enter opens a session and returns why it is put out, once it is.
func (r *rig) enter(runID, jobID, user string) (DebugTicket, <-chan error, error) {
	out := make(chan error, 1)
	ticket, err := r.OpenDebug(r.ctx(), DebugRequest{SessionID: r.ids.New(), Run: runID, Job: jobID, User: user, Command: []string{"ls", "-l"}, TTY: true,
		End: func(reason error) { out <- reason }})
	return ticket, out, err
}

func wantReason(t *testing.T, err error, want rpcerr.Reason, text string) {
	t.Helper()
	if rpcerr.ReasonOf(err) != want || err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("got %v, want %s with %q", err, want, text)
	}
}

func TestHeldPodOutlivesItsRunAndKeepsItsPlace(t *testing.T) {
	r := newRig(t)
	a := r.agent("a1", 2)
	runID := r.holding(plan(job("test"), job("after", "test"), func() *planv1.Job { j := job("clean", "test"); j.Condition = "always()"; return j }()))
	attempt := a.failHeld()
	a.work(success)
	r.want(runID, "failed test:failed after:skipped clean:succeeded")
	h := r.job(runID, "test").GetHeld()
	if h.GetUntilMs()-h.GetSinceMs() != lease.Milliseconds() || h.GetLimitMs()-h.GetSinceMs() != time.Hour.Milliseconds() {
		t.Fatalf("held %v", h)
	}
	if r.slots() != 1 || !r.isLive(runID) {
		t.Errorf("%d slots in use, live %v", r.slots(), r.isLive(runID))
	}
	why, err := r.Why(r.ctx(), runID, "test")
	if err != nil || !strings.Contains(why.GetJobs()[0].GetReason(), "its pod is held until") || !strings.Contains(why.GetJobs()[0].GetRemedy(), "slipway debug '#1.1' test") {
		t.Errorf("%v %v", why, err)
	}
	view, err := r.Engine.Agent(r.ctx(), "a1")
	if err != nil || view.GetWork()[0].GetHeldUntilMs() != h.GetUntilMs() {
		t.Errorf("%v %v", view, err)
	}
	if id, err := r.ReleaseJob(r.ctx(), runID, "", "ada"); err != nil || id != "test" {
		t.Errorf("%s %v", id, err)
	}
	if m := a.hold(); m.GetAttemptId() != attempt || m.GetLeftMs() != 0 || m.GetReason() != "ada let it go" {
		t.Errorf("the agent is told %v", m)
	}
	if r.slots() != 0 || r.isLive(runID) {
		t.Errorf("%d slots in use, live %v", r.slots(), r.isLive(runID))
	}
	if got := r.job(runID, "test").GetHeld(); got.GetReleased() != "ada let it go" || got.GetReleasedMs() == 0 {
		t.Errorf("%v", got)
	}
	_, err = r.ReleaseJob(r.ctx(), runID, "test", "ada")
	wantReason(t, err, rpcerr.HoldOver, "ada let it go")
}

func TestWhatIsNotHeld(t *testing.T) {
	r := newRig(t)
	a := r.agent("a1", 4)
	again := job("again")
	again.Retry = &planv1.Retry{Attempts: 2, On: []string{"failure"}}
	first := r.holding(plan(job("good"), again))
	for range 2 {
		as := a.offer()
		a.accept(as.GetAttemptId())
		a.running(as.GetAttemptId())
		if as.GetJobId() == "good" {
			_, _, err := r.enter(first, "good", "ada")
			wantReason(t, err, rpcerr.NotFailed, "is running")
			a.finish(as.GetAttemptId(), success)
			continue
		}
		a.finish(as.GetAttemptId(), failure, keepsPod)
		if m := a.hold(); m.GetAttemptId() != as.GetAttemptId() || m.GetLeftMs() != 0 {
			t.Errorf("of a job that is tried again: %v", m)
		}
	}
	a.work(failure) // without a pod: it was lost
	r.want(first, "failed good:succeeded again:failed")
	_, _, err := r.enter(first, "good", "ada")
	wantReason(t, err, rpcerr.NotFailed, "succeeded")
	_, _, err = r.enter(first, "again", "ada")
	wantReason(t, err, rpcerr.NotHeld, "no pod to hold")
	_, _, err = r.enter(first, "nothing", "ada")
	wantReason(t, err, rpcerr.NotFound, "no job nothing")
	_, _, err = r.enter(first, "", "ada")
	wantReason(t, err, rpcerr.NotHeld, "no job of run #1")

	second := r.submit(plan(job("plain")))
	a.work(failure)
	r.want(second, "failed plain:failed")
	_, _, err = r.enter(second, "plain", "ada")
	wantReason(t, err, rpcerr.NotHeld, "--hold-on-failure")
	if r.slots() != 0 {
		t.Errorf("%d slots are in use", r.slots())
	}
}

func TestLeaseRunsOutUnlessSomebodyIsInThePod(t *testing.T) {
	r := newRig(t)
	a := r.agent("a1", 2)
	runID := r.holding(plan(job("test")))
	a.failHeld()
	ticket, put, err := r.enter(runID, "test", "ada")
	if err != nil {
		t.Fatal(err)
	}
	if m := a.attach(); m.GetSessionId() == "" || !slices.Equal(m.GetCommand(), []string{"ls", "-l"}) || !m.GetTty() {
		t.Errorf("the agent is asked to %v", m)
	}
	_, _, err = r.enter(runID, "test", "bob")
	wantReason(t, err, rpcerr.InUse, "ada is in the pod")
	beat := func(d time.Duration) {
		for range int(d / (5 * time.Second)) {
			r.clock.Advance(5 * time.Second)
			r.Heartbeat(a.id, a.session, 1<<40)
			r.settle()
		}
	}
	beat(lease + time.Minute)
	h := r.job(runID, "test").GetHeld()
	if left := h.GetUntilMs() - r.clock.Now().UnixMilli(); left < lease.Milliseconds()*3/4 {
		t.Errorf("a lease in use has %d ms left", left)
	}
	if m := a.hold(); m.GetLeftMs() < lease.Milliseconds()*3/4 {
		t.Errorf("the agent is told %v", m)
	}
	// To the limit, and no further.
	beat(40 * time.Minute)
	select {
	case err := <-put:
		wantReason(t, err, rpcerr.HoldOver, "the longest that this coordinator allows")
	default:
		t.Errorf("still in it: %v", r.job(runID, "test"))
	}
	if !r.isLive(runID) {
		t.Error("the run was sealed while a session of it had no end")
	}
	err = r.CloseDebug(r.ctx(), DebugEnd{SessionID: r.job(runID, "test").GetDebugSessions()[0].GetId(), RunID: ticket.RunID, JobID: ticket.JobID, ExitCode: 137, Ended: "over", BytesIn: 3, BytesOut: 4})
	if err != nil {
		t.Fatal(err)
	}
	s := r.job(runID, "test").GetDebugSessions()[0]
	if s.GetUser() != "ada" || s.GetExitCode() != 137 || s.GetBytesIn() != 3 || s.GetBytesOut() != 4 || s.GetEnded() != "over" || s.GetEndedMs() == 0 || s.GetStartedMs() == 0 {
		t.Errorf("recorded %v", s)
	}
	if r.isLive(runID) || r.slots() != 0 {
		t.Error("the run is still kept")
	}
	_, _, err = r.enter(runID, "test", "ada")
	wantReason(t, err, rpcerr.HoldOver, "the longest")
}

func TestLeaseRunsOutWithoutItsAgent(t *testing.T) {
	r := newRig(t)
	a := r.agent("a1", 2)
	runID := r.holding(plan(job("test")))
	attempt := a.failHeld()
	r.Disconnect(a.id, a.session)
	r.settle()
	_, _, err := r.enter(runID, "test", "ada")
	wantReason(t, err, rpcerr.AgentAway, "is not connected; the pod is held until")
	r.clock.Advance(5 * time.Minute) // beyond the grace of running attempts
	if live := a.connect(attempt); !slices.Equal(live, []string{attempt}) {
		t.Fatalf("live on %v", live)
	}
	if m := a.hold(); m.GetLeftMs() != (lease - 5*time.Minute).Milliseconds() {
		t.Errorf("told %v", m)
	}
	r.Disconnect(a.id, a.session)
	r.clock.Advance(lease)
	if h := r.job(runID, "test").GetHeld(); h.GetReleased() != "the lease ran out" || r.isLive(runID) {
		t.Errorf("%v", h)
	}
	a.connect(attempt)
	if m := a.hold(); m.GetLeftMs() != 0 || m.GetAttemptId() != attempt {
		t.Errorf("told %v", m)
	}
}

func TestNewLeaderKeepsHolds(t *testing.T) {
	r := newRig(t)
	a := r.agent("a1", 2)
	runID := r.holding(plan(job("test"), job("other")))
	attempt := a.failHeld()
	a.work(success)
	if _, _, err := r.enter(runID, "test", "ada"); err != nil {
		t.Fatal(err)
	}
	r.restart()
	r.want(runID, "failed test:failed other:succeeded")
	if s := r.job(runID, "test").GetDebugSessions(); len(s) != 1 || s[0].GetEnded() != "the coordinator was restarted" {
		t.Errorf("sessions %v", s)
	}
	if live := a.connect(attempt); !slices.Equal(live, []string{attempt}) || r.slots() != 1 {
		t.Errorf("live %v, %d slots", live, r.slots())
	}
	if _, _, err := r.enter(runID, "test", "bob"); err != nil {
		t.Errorf("entering again: %v", err)
	}
	r.restart()
	// The agent's host was restarted meanwhile.
	a.connect()
	if h := r.job(runID, "test").GetHeld(); h.GetReleased() != "its agent came back without it" || r.isLive(runID) || r.slots() != 0 {
		t.Errorf("%v, %d slots", h, r.slots())
	}
}

func TestAgentLetsItsPodGo(t *testing.T) {
	r := newRig(t)
	a := r.agent("a1", 2)
	runID := r.holding(plan(job("test")))
	attempt := a.failHeld()
	_, put, err := r.enter(runID, "test", "ada")
	if err != nil {
		t.Fatal(err)
	}
	a.finish(attempt, failure, func(rep *corev1.Report) { rep.Released = "the pod is gone" })
	r.settle()
	wantReason(t, <-put, rpcerr.HoldOver, "the pod is gone")
	if h := r.job(runID, "test").GetHeld(); h.GetReleased() != "the pod is gone" || r.slots() != 0 {
		t.Errorf("%v", h)
	}
}

func TestCancelDrainAndRemovalLetHeldPodsGo(t *testing.T) {
	for name, end := range map[string]func(*rig, *fakeAgent, string) error{
		"the run was cancelled: enough": func(r *rig, _ *fakeAgent, runID string) error { return r.Cancel(r.ctx(), r.ids.New(), runID, "enough") },
		"was drained by ops": func(r *rig, a *fakeAgent, runID string) error {
			v, err := r.DrainAgent(r.ctx(), DrainRequest{RequestID: r.ids.New(), Agent: a.id, Deadline: 3 * time.Second, By: "ops"})
			if v.GetSchedule() != "draining" || !lifecycleHeld(r.job(runID, "test")) {
				return errors.New("a drain does not wait for its deadline")
			}
			r.clock.Advance(4 * time.Second)
			return err
		},
		"was removed by ops": func(r *rig, a *fakeAgent, _ string) error {
			_, err := r.RemoveAgent(r.ctx(), RemoveRequest{RequestID: r.ids.New(), Agent: a.id, By: "ops"})
			wantReason(r.t, err, rpcerr.InUse, "has 1 jobs")
			_, err = r.RemoveAgent(r.ctx(), RemoveRequest{RequestID: r.ids.New(), Agent: a.id, By: "ops", Force: true})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			a := r.agent("a1", 2)
			runID := r.holding(plan(job("test")))
			a.failHeld()
			r.want(runID, "failed test:failed")
			if err := end(r, a, runID); err != nil {
				t.Fatal(err)
			}
			r.settle()
			if h := r.job(runID, "test").GetHeld(); !strings.Contains(h.GetReleased(), name) || r.isLive(runID) {
				t.Errorf("%v", h)
			}
		})
	}
}

func lifecycleHeld(j *apiv1.Job) bool { return j.GetHeld() != nil && j.GetHeld().GetReleasedMs() == 0 }

// A run with held pods that fails half-way through its end must be found by the next leader, and one without must not stay.
func TestOnlyOccupiedRunsStayLive(t *testing.T) {
	r := newRig(t)
	a := r.agent("a1", 4)
	r.holding(plan(job("test")))
	a.work(success)
	r.settle()
	kvs, _, err := r.store.Range(r.ctx(), livePrefix, store.PrefixEnd(livePrefix), 0)
	if err != nil || len(kvs) != 0 {
		t.Errorf("%v %v", kvs, err)
	}
}
