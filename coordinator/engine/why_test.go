package engine

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/coordinator/config"
	"github.com/slipway-ci/slipway/coordinator/schedule"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

func sized(j *planv1.Job, cpu, memory int64) *planv1.Job {
	j.Resources = &planv1.Resources{CpuMilli: cpu, Memory: memory}
	return j
}

func (r *rig) sizedAgent(name string, c *fleetv1.Capacity) *fakeAgent {
	a := &fakeAgent{r: r, id: name, seq: map[string]uint64{}, tokens: map[string]string{}, arrived: make(chan struct{}, 1), session: r.ids.New()}
	if _, err := r.Connect(r.ctx(), Session{ID: a.session, AgentID: name, Hostname: name, Pool: "default", Capacity: c}, a); err != nil {
		r.t.Fatal(err)
	}
	return a
}

// text is all that an explanation says.
func text(w *apiv1.JobWhy) string {
	var b strings.Builder
	fmt.Fprintf(&b, "reason: %s\nremedy: %s\nretried: %s\nif: %s\n", w.GetReason(), w.GetRemedy(), w.GetRetried(), w.GetCondition())
	for _, n := range w.GetNeeds() {
		fmt.Fprintf(&b, "needs %s: %s\n", n.GetJobId(), jobStateWord(n.GetState()))
	}
	for _, a := range w.GetAhead() {
		fmt.Fprintf(&b, "ahead %s: %d (%d at work)\n", a.GetProject(), a.GetJobs(), a.GetRunning())
	}
	for _, no := range w.GetRefusals() {
		fmt.Fprintf(&b, "%s %s: %s\n", no.GetHostname(), no.GetPredicate(), no.GetReason())
	}
	return b.String()
}

// TestWhyIsRight constructs what can be waited for, and holds every explanation against what is so.
func TestWhyIsRight(t *testing.T) {
	busy := func(r *rig) *fakeAgent {
		a := r.agent("a1", 1)
		r.submit(plan(job("first")))
		as := a.offer()
		a.accept(as.GetAttemptId())
		a.running(as.GetAttemptId())
		return a
	}
	started := func(a *fakeAgent) string {
		as := a.offer()
		a.accept(as.GetAttemptId())
		a.running(as.GetAttemptId())
		return as.GetAttemptId()
	}
	for name, c := range map[string]struct {
		make func(r *rig) (run, job string)
		want []string
	}{
		"no agents": {func(r *rig) (string, string) { return r.submit(plan(job("b"))), "b" }, []string{"reason: no agent has joined yet", "remedy: it needs an agent in pool default"}},
		"slots": {func(r *rig) (string, string) { busy(r); return r.submit(plan(job("b"))), "b" },
			[]string{"a1 slots: has all of its 1 slots in use", "agent a1 can take it when job first of run #1 ends", "ahead team/app: 0 (1 at work)"}},
		"position": {func(r *rig) (string, string) {
			busy(r)
			r.submit(plan(job("b"), job("c")))
			return r.submit(plan(job("d"))), "d"
		}, []string{"ahead team/app: 2 (1 at work)"}},
		"labels": {func(r *rig) (string, string) {
			r.agent("a1", 1)
			j := job("b")
			j.Pool = []*planv1.Value{lit("gpu")}
			return r.submit(plan(j)), "b"
		}, []string{"a1 labels: lacks the label gpu", "it needs an agent in pool default with the label gpu"}},
		"pool": {func(r *rig) (string, string) {
			r.agent("a1", 1)
			j := job("b")
			j.RunsOnGroup = lit("big")
			return r.submit(plan(j)), "b"
		}, []string{`a1 pool: is in pool "default", the job needs big`, "it needs an agent in pool big"}},
		"size": {func(r *rig) (string, string) {
			r.sizedAgent("a1", &fleetv1.Capacity{Slots: 1, CpuMilli: 2000})
			return r.submit(plan(sized(job("b"), 4000, 0))), "b"
		}, []string{"a1 size: has 2 CPUs in all, the job reserves 4", "it needs an agent in pool default with at least 4 CPUs"}},
		"cpu": {func(r *rig) (string, string) {
			a := r.sizedAgent("a1", &fleetv1.Capacity{Slots: 4, CpuMilli: 4000})
			r.submit(plan(sized(job("first"), 3000, 0)))
			a.offer()
			return r.submit(plan(sized(job("b"), 2000, 0))), "b"
		}, []string{"a1 cpu: has 1 of 4 CPUs left, the job reserves 2", "when job first of run #1 ends"}},
		"memory": {func(r *rig) (string, string) {
			a := r.sizedAgent("a1", &fleetv1.Capacity{Slots: 4, Memory: 4 << 30})
			r.submit(plan(sized(job("first"), 0, 3<<30)))
			a.offer()
			return r.submit(plan(sized(job("b"), 0, 2<<30))), "b"
		}, []string{"a1 memory: has 1024 MiB of 4096 MiB of memory left, the job reserves 2048 MiB", "when job first of run #1 ends"}},
		"drain": {func(r *rig) (string, string) {
			r.agent("a1", 1)
			r.drain("a1", 0, "new disk")
			return r.submit(plan(job("b"))), "b"
		}, []string{"a1 drain: ", "new disk", "agent a1 can take it once its drain has ended"}},
		"online": {func(r *rig) (string, string) {
			a := r.agent("a1", 1)
			r.Disconnect("a1", a.session)
			return r.submit(plan(job("b"))), "b"
		}, []string{"a1 online: is not connected", "agent a1 can take it once it is connected"}},
		"disk": {func(r *rig) (string, string) {
			r.Engine.c.Scheduling.MinDiskFree = 2 << 30
			a := r.agent("a1", 1)
			r.Heartbeat("a1", a.session, 1<<30)
			r.settle()
			return r.submit(plan(job("b"))), "b"
		}, []string{"a1 disk: has 1024 MiB of disk free", "once it has 2048 MiB of disk free"}},
		"rejected": {func(r *rig) (string, string) {
			a := r.agent("a1", 1)
			run := r.submit(plan(job("b")))
			if err := r.OfferReply(r.ctx(), a.session, &fleetv1.OfferReply{AttemptId: a.offer().GetAttemptId(), Reason: "no network"}); err != nil {
				t.Fatal(err)
			}
			return run, "b"
		}, []string{"a1 avoid: rejected it: no network", "once the pause after its refusal is over"}},
		"cap": {func(r *rig) (string, string) {
			r.queue.projects["team/app"] = schedule.Project{MaxRunning: 1}
			a := r.agent("a1", 3)
			run := r.submit(plan(job("a"), job("b")))
			a.offer()
			return run, "b"
		}, []string{"has 1 jobs at work, and may have 1 at once (max_running)", "it can start when a job of project team/app ends"}},
		"isolation": {func(r *rig) (string, string) {
			r.Engine.c.Pools = map[string]config.Pool{"default": {Isolation: config.IsolationUntrusted}}
			r.agent("a1", 1)
			return r.submit(plan(job("b"))), "b"
		}, []string{"a1 isolation: can't run jobs as its pool"}},
		"needs": {func(r *rig) (string, string) { busy(r); return r.submit(plan(job("a"), job("b", "a"))), "b" },
			[]string{"reason: it needs a (queued)", "needs a: queued"}},
		"skipped": {func(r *rig) (string, string) {
			a := r.agent("a1", 1)
			run := r.submit(plan(job("a"), job("b", "a"), job("c", "b"), job("z")))
			a.work(failure)
			r.settle()
			return run, "b"
		}, []string{"its `if` does not hold, and a ended with failure", "it began with a, which ended as failed", "needs a: failed", "if: success()"}},
		"skipped from afar": {func(r *rig) (string, string) {
			a := r.agent("a1", 1)
			run := r.submit(plan(job("a"), job("b", "a"), job("c", "b"), job("z")))
			a.work(failure)
			r.settle()
			return run, "c"
		}, []string{"b ended with skipped", "it began with a, which ended as failed", "needs b: skipped"}},
		"own if": {func(r *rig) (string, string) {
			busy(r)
			j := job("b")
			j.Condition = "success() && false"
			return r.submit(plan(j, job("z"))), "b"
		}, []string{"reason: its `if` does not hold\n", "if: success() && false"}},
		"group": {func(r *rig) (string, string) {
			busy(r)
			hold := func(id string) *planv1.Job {
				j := job(id)
				j.Concurrency = &planv1.Concurrency{Group: lit("prod")}
				return j
			}
			r.submit(plan(hold("a")))
			return r.submit(plan(hold("b"))), "b"
		}, []string{"waits for the concurrency group `prod`, held by run #2, job a", "it begins when run #2, job a has ended"}},
		"lost": {func(r *rig) (string, string) {
			a := r.agent("a1", 1)
			run := r.submit(plan(job("b"), job("z")))
			started(a)
			a.connect()
			return run, "b"
		}, []string{"its agent came back without it; its steps may have had effects"}},
		"retried": {func(r *rig) (string, string) {
			a := r.agent("a1", 1)
			j := job("b")
			j.Retry = &planv1.Retry{Attempts: 2, On: []string{"failure"}, BackoffMs: 60_000}
			run := r.submit(plan(j))
			a.finish(started(a), failure)
			return run, "b"
		}, []string{"retried: retry after: a step failed", "the next attempt begins in 1m0s (retry.backoff)"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			run, job := c.make(r)
			r.settle()
			got, err := r.Why(r.ctx(), run, job)
			if err != nil || len(got.GetJobs()) != 1 {
				t.Fatalf("%v, %v", got, err)
			}
			for _, want := range c.want {
				if all := text(got.GetJobs()[0]); !strings.Contains(all, want) {
					t.Errorf("it does not say %q:\n%s", want, all)
				}
			}
		})
	}
}

func TestDemandIsWhatIsQueued(t *testing.T) {
	r := newRig(t)
	r.submit(plan(sized(job("a"), 1000, 1<<30), sized(job("b"), 3000, 1<<30)))
	r.settle()
	r.clock.Advance(time.Second)
	got, err := r.Demand(r.ctx())
	if err != nil || len(got) != 1 {
		t.Fatal(got, err)
	}
	if d := got[0]; d.GetJobs() != 2 || d.GetCpuMilli() != 4000 || d.GetMaxCpuMilli() != 3000 || d.GetMemory() != 2<<30 || d.GetOldestWaitMs() != 1000 || d.GetPools()[0] != "default" {
		t.Errorf("%v", d)
	}
}
