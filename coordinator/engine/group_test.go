package engine

import (
	"fmt"
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/coordinator/store"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

func inGroup(p *planv1.Plan, c *planv1.Concurrency) *planv1.Plan {
	p.Concurrency = c
	return p
}

// held are the groups that the store says are held.
func (r *rig) held() string {
	r.t.Helper()
	r.settle()
	kvs, _, err := r.store.Range(r.ctx(), groupPrefix, store.PrefixEnd(groupPrefix), 0)
	if err != nil {
		r.t.Fatal(err)
	}
	var out []string
	for _, kv := range kvs {
		out = append(out, strings.TrimPrefix(kv.Key, groupPrefix))
	}
	return strings.Join(out, " ")
}

func TestOneRunOfAGroupAtATimeTheNewestWaits(t *testing.T) {
	r := newRig(t)
	a := r.agent("a", 9)
	group := func() *planv1.Plan {
		return inGroup(plan(job("deploy")), &planv1.Concurrency{Group: ex("format('Prod-{0}', github.ref_name)")})
	}
	first, second := r.submit(group()), r.submit(group())
	r.want(first, "running deploy:assigned")
	r.want(second, "waiting deploy:blocked")
	if got := r.run(second).GetReason(); got != "waits for the concurrency group `Prod-main`, held by run #1" {
		t.Fatal(got)
	}
	// Groups are compared without case; the newest of those that wait takes the place of the other.
	third := r.submit(inGroup(plan(job("deploy")), &planv1.Concurrency{Group: lit("prod-MAIN")}))
	r.want(second, "cancelled deploy:cancelled")
	r.want(third, "waiting deploy:blocked")
	if f := r.run(second).GetFailure(); f.GetCode() != "cancelled" || !strings.Contains(f.GetMessage(), "run #3 waits for the concurrency group `Prod-main` now") {
		t.Fatalf("%v", f)
	}
	if got := r.held(); got != "team%2Fapp/prod-main" {
		t.Fatal(got)
	}
	if a.work(success) != "deploy" {
		t.Fatal("another job")
	}
	r.want(first, "succeeded deploy:succeeded")
	r.want(third, "running deploy:assigned")
	a.work(success)
	r.want(third, "succeeded deploy:succeeded")
	if got := r.held(); got != "" || len(r.groups) != 0 {
		t.Fatalf("still held: %s %v", got, r.groups)
	}
}

func TestGroupsOfOtherProjectsAndNamesAreFree(t *testing.T) {
	r := newRig(t)
	r.submit(inGroup(plan(job("a")), &planv1.Concurrency{Group: lit("g")}))
	other := r.submission(inGroup(plan(job("a")), &planv1.Concurrency{Group: lit("g")}))
	other.Project = "team/other"
	for _, s := range []Submission{other, r.submission(inGroup(plan(job("a")), &planv1.Concurrency{Group: lit("h")})),
		r.submission(inGroup(plan(job("a")), &planv1.Concurrency{Group: ex("''")}))} {
		id, _, err := r.Submit(r.ctx(), s)
		if err != nil {
			t.Fatal(err)
		}
		r.want(id, "queued a:queued")
	}
}

func TestQueueMaxKeepsAllInOrder(t *testing.T) {
	r := newRig(t)
	a := r.agent("a", 9)
	var runs []string
	for range 5 {
		runs = append(runs, r.submit(inGroup(plan(job("deploy")), &planv1.Concurrency{Group: lit("prod"), Queue: lit("max")})))
	}
	if got := r.run(runs[3]).GetReason(); got != "waits for the concurrency group `prod`, held by run #1; 2 wait before it" {
		t.Fatal(got)
	}
	for i, id := range runs {
		r.want(id, "running deploy:assigned")
		for _, later := range runs[i+1:] {
			r.want(later, "waiting deploy:blocked")
		}
		a.work(success)
		r.want(id, "succeeded deploy:succeeded")
	}
}

func TestQueueMaxHasAnEnd(t *testing.T) {
	r := newRig(t)
	c := func() *planv1.Plan {
		return inGroup(plan(job("deploy")), &planv1.Concurrency{Group: lit("prod"), Queue: lit("max")})
	}
	r.submit(c())
	var last string
	for range maxQueue {
		last = r.submit(c())
	}
	r.want(last, "waiting deploy:blocked")
	tooMuch := r.submit(c())
	r.want(tooMuch, "cancelled deploy:cancelled")
	r.want(last, "waiting deploy:blocked")
	if f := r.run(tooMuch).GetFailure(); !strings.Contains(f.GetMessage(), "100 wait for the concurrency group `prod` already") {
		t.Fatalf("%v", f)
	}
}

func TestCancelInProgress(t *testing.T) {
	r := newRig(t)
	a := r.agent("a", 9)
	cleanup := job("cleanup", "deploy")
	cleanup.Condition = "always()"
	c := &planv1.Concurrency{Group: lit("prod"), CancelInProgress: ex("github.ref_name == 'main'")}
	first := r.submit(inGroup(plan(job("deploy"), cleanup), c))
	as := a.offer()
	a.accept(as.GetAttemptId())
	a.running(as.GetAttemptId())
	second := r.submit(inGroup(plan(job("deploy")), c))
	if a.cancelled() != as.GetAttemptId() {
		t.Fatal("another attempt was cancelled")
	}
	r.want(first, "cancelling deploy:cancelling cleanup:blocked")
	r.want(second, "waiting deploy:blocked")
	a.finish(as.GetAttemptId(), cancelled)
	// The holder's clean-up is part of it: the group is free only then.
	r.want(second, "waiting deploy:blocked")
	a.work(success)
	r.want(first, "cancelled deploy:cancelled cleanup:succeeded")
	if f := r.run(first).GetFailure(); !strings.Contains(f.GetMessage(), "run #2 wants the concurrency group `prod`, with cancel-in-progress") {
		t.Fatalf("%v", f)
	}
	r.want(second, "running deploy:assigned")
}

func TestGroupsOfJobs(t *testing.T) {
	r := newRig(t)
	a := r.agent("a", 9)
	withGroup := func() *planv1.Plan {
		deploy := legs(job("deploy", "build"), 1)
		deploy.Strategy.LegLabels = nil
		deploy.Concurrency = &planv1.Concurrency{Group: ex("format('{0}-{1}', needs.build.result, matrix.node)")}
		return plan(job("build"), deploy, job("after", "deploy"))
	}
	first, second := r.submit(withGroup()), r.submit(withGroup())
	a.workOn(first, success)
	r.want(first, "running build:succeeded deploy.0:assigned after:blocked")
	a.workOn(second, success)
	r.want(first, "running build:succeeded deploy.0:assigned after:blocked")
	r.want(second, "running build:succeeded deploy.0:waiting after:blocked")
	if got := r.run(second).GetJobs()[1].GetReason(); got != "waits for the concurrency group `success-20`, held by run #1, job deploy" {
		t.Fatal(got)
	}
	r.restart()
	as := a.offer()
	a.connect(as.GetAttemptId())
	r.want(second, "running build:succeeded deploy.0:waiting after:blocked")
	third := r.submit(withGroup())
	a.work(success)
	r.want(third, "running build:succeeded deploy.0:waiting after:blocked")
	// A superseded job is cancelled, and with it what needs it: the run was cancelled, nothing failed.
	r.want(second, "cancelled build:succeeded deploy.0:cancelled after:skipped")
	a.accept(as.GetAttemptId())
	a.finish(as.GetAttemptId(), success)
	r.want(third, "running build:succeeded deploy.0:assigned after:blocked")
	if got := r.held(); got != "team%2Fapp/success-20" {
		t.Fatal(got)
	}
}

func TestARetryKeepsItsGroup(t *testing.T) {
	r := newRig(t)
	a := r.agent("a", 9)
	j := job("deploy")
	j.Concurrency = &planv1.Concurrency{Group: lit("prod")}
	j.Retry = &planv1.Retry{Attempts: 2, On: []string{"failure"}}
	first, second := r.submit(plan(j)), r.submit(plan(j))
	a.work(failure)
	r.want(first, "running deploy:assigned")
	r.want(second, "queued deploy:waiting")
	a.work(success)
	r.want(second, "running deploy:assigned")
}

func TestAJobOfAGroupThatItsRunHoldsIsRefused(t *testing.T) {
	r := newRig(t)
	j := job("deploy")
	j.Concurrency = &planv1.Concurrency{Group: lit("PROD")}
	id := r.submit(inGroup(plan(j), &planv1.Concurrency{Group: lit("prod")}))
	r.want(id, "failed deploy:failed")
	if f := r.run(id).GetJobs()[0].GetFailure(); !strings.Contains(f.GetMessage(), "would wait for ever") {
		t.Fatalf("%v", f)
	}
	if got := r.held(); got != "" {
		t.Fatal(got)
	}
}

func TestLegsOfOneGroupTakeTurnsWithinMaxParallel(t *testing.T) {
	r := newRig(t)
	a := r.agent("a", 9)
	j := legs(job("deploy"), 4)
	j.Concurrency = &planv1.Concurrency{Group: lit("prod"), Queue: lit("max")}
	j.Strategy.MaxParallel = lit("2")
	id := r.submit(plan(j))
	r.want(id, "running deploy.0:assigned deploy.1:waiting deploy.2:waiting deploy.3:waiting")
	reasons := func() (out []string) {
		for _, j := range r.run(id).GetJobs() {
			out = append(out, j.GetReason())
		}
		return out
	}
	if got := reasons(); !strings.Contains(got[1], "held by run #1, job deploy (20)") || !strings.Contains(got[2], "max-parallel") {
		t.Fatalf("%q", got)
	}
	for i := range 4 {
		if got := a.work(success); got != fmt.Sprintf("deploy.%d", i) {
			t.Fatal(got)
		}
	}
	r.want(id, "succeeded deploy.0:succeeded deploy.1:succeeded deploy.2:succeeded deploy.3:succeeded")
}

func TestAWaitingRunThatIsCancelledNeverBegins(t *testing.T) {
	r := newRig(t)
	a := r.agent("a", 9)
	always := job("cleanup")
	always.Condition = "always()"
	c := &planv1.Concurrency{Group: lit("prod")}
	first := r.submit(inGroup(plan(job("deploy")), c))
	second := r.submit(inGroup(plan(always), c))
	if err := r.Cancel(r.ctx(), r.ids.New(), second, "not today"); err != nil {
		t.Fatal(err)
	}
	r.want(second, "cancelled cleanup:cancelled")
	a.work(success)
	r.want(first, "succeeded deploy:succeeded")
	if got := r.held(); got != "" {
		t.Fatal(got)
	}
}

func TestGroupsSurviveALeader(t *testing.T) {
	r := newRig(t)
	a := r.agent("a", 9)
	c := func(cancel string) *planv1.Plan {
		return inGroup(plan(job("deploy")), &planv1.Concurrency{Group: lit("prod"), Queue: lit("max"), CancelInProgress: lit(cancel)})
	}
	first, second, third := r.submit(c("false")), r.submit(c("false")), r.submit(c("false"))
	as := a.offer()
	a.accept(as.GetAttemptId())
	r.restart()
	a.connect(as.GetAttemptId())
	r.want(first, "running deploy:assigned")
	r.want(third, "waiting deploy:blocked")
	if got := r.run(third).GetReason(); got != "waits for the concurrency group `prod`, held by run #1; 1 wait before it" {
		t.Fatal(got)
	}
	a.finish(as.GetAttemptId(), success)
	r.want(second, "running deploy:assigned")
	r.want(third, "waiting deploy:blocked")
	a.work(success)
	r.restart()
	a.connect()
	r.want(third, "running deploy:assigned")
}

// TestTheStoreHasTheLastWordOnAGroup: what takes a group compares that its key is absent, so a leader whose memory is wrong gets nothing.
func TestTheStoreHasTheLastWordOnAGroup(t *testing.T) {
	r := newRig(t)
	r.settle()
	res, err := r.store.Commit(r.ctx(), store.Txn{Branches: []store.Branch{{Ops: []store.Op{{Key: groupKey("team/app", "prod"), Value: []byte{}}}}}})
	if err != nil || !res.Branches[0] {
		t.Fatal(res, err)
	}
	s := r.submission(inGroup(plan(job("deploy")), &planv1.Concurrency{Group: lit("prod")}))
	if _, _, err := r.Submit(r.ctx(), s); rpcerr.ReasonOf(err) != rpcerr.NotLeader {
		t.Fatal(err)
	}
	<-r.Done()
	// The next leader knows that it is held, by whom it can't say; and holds it to that.
	r.lead()
	id, _, err := r.Submit(r.ctx(), s)
	if err != nil {
		t.Fatal(err)
	}
	r.want(id, "waiting deploy:blocked")
}

func TestBadConcurrencyIsRefusedAtSubmit(t *testing.T) {
	r := newRig(t)
	for want, c := range map[string]*planv1.Concurrency{
		"concurrency.group":              {Group: ex("fromJSON('{')")},
		"concurrency.cancel-in-progress": {Group: lit("g"), CancelInProgress: ex("'maybe'")},
		"single or max":                  {Group: lit("g"), Queue: lit("two")},
		"only one of them can hold":      {Group: lit("g"), Queue: lit("max"), CancelInProgress: lit("true")},
		"more than 255":                  {Group: lit(strings.Repeat("g", 256))},
	} {
		_, _, err := r.Submit(r.ctx(), r.submission(inGroup(plan(job("a")), c)))
		if rpcerr.ReasonOf(err) != rpcerr.InvalidRequest || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestAJobReservesItsLargestStep(t *testing.T) {
	r := newRig(t)
	step := func(cpu, memory int64) *planv1.Step {
		return &planv1.Step{Resources: &planv1.Resources{CpuMilli: cpu, Memory: memory}}
	}
	own, steps := job("own"), job("steps")
	own.Resources, own.Steps = &planv1.Resources{CpuMilli: 300, Memory: 400}, []*planv1.Step{step(9000, 1)}
	steps.Steps = []*planv1.Step{step(5000, 1), step(1, 8<<30), {}}
	id := r.submit(plan(own, steps))
	r.settle()
	var got [4]int64
	if err := r.ask(r.ctx(), func(reply func(error)) {
		w := r.runs[id].wants
		got = [4]int64{w["own"].cpu, w["own"].memory, w["steps"].cpu, w["steps"].memory}
		reply(nil)
	}); err != nil {
		t.Fatal(err)
	}
	if got != [4]int64{300, 400, 5000, 8 << 30} {
		t.Fatal(got)
	}
}
