package engine

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/coordinator/lifecycle"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

func TestAWholeRun(t *testing.T) {
	r := newRig(t)
	a := r.agent("a", 2)
	r.settle()
	before := len(r.store.Commits())
	build := job("build")
	build.TimeoutMinutes = ex("github.ref_name == 'main' && 7 || 8")
	test := job("test", "build")
	test.Name = ex("format('test of {0}', needs.build.outputs.version)")
	runID := r.submit(plan(build, test))
	as := a.offer()
	if n := len(r.store.Commits()) - before; n != 1 {
		t.Errorf("submit to offer took %d transactions, want one, created as assigned", n)
	}
	if as.GetRunId() != runID || as.GetJobId() != "build" || as.GetAttempt() != 1 || as.GetImage() != "registry/runner@sha256:1" || as.GetSource() != "sha256:tree" ||
		as.GetJob().GetTimeoutMinutes().GetLiteral() != "7" || as.GetJob().GetStrategy() != nil {
		t.Fatalf("%v", as)
	}
	github := contextOf(t, as)["github"].(map[string]any)
	if github["run_id"] != runID || github["run_number"] != "1" || github["job"] != "build" || github["ref_name"] != "main" || github["repository_owner"] != "team" {
		t.Fatalf("%v", github)
	}
	if !strings.HasPrefix(as.GetContexts(), `{"github":`) {
		t.Fatalf("order of contexts: %.60s", as.GetContexts())
	}
	r.want(runID, "running build:assigned test:blocked")
	ref, err := r.Attempt(r.ctx(), "a", as.GetAttemptId(), as.GetToken())
	if err != nil || ref.RunID != runID || ref.JobID != "build" || ref.Project != "team/app" {
		t.Fatalf("%+v %v", ref, err)
	}
	for _, c := range [][2]string{{"a", "wrong"}, {"b", as.GetToken()}} {
		if _, err := r.Attempt(r.ctx(), c[0], as.GetAttemptId(), c[1]); rpcerr.ReasonOf(err) != rpcerr.PermissionDenied {
			t.Fatalf("%v: %v", c, err)
		}
	}
	a.accept(as.GetAttemptId())
	a.running(as.GetAttemptId())
	r.want(runID, "running build:running test:blocked")
	a.finish(as.GetAttemptId(), success, func(rep *corev1.Report) { rep.Outputs = []*corev1.Output{{Name: "version", Value: "1.2"}} })
	as = a.offer()
	needs := contextOf(t, as)["needs"].(map[string]any)
	if as.GetJobName() != "test of 1.2" || fmt.Sprint(needs) != "map[build:map[outputs:map[version:1.2] result:success]]" {
		t.Fatalf("%s %v", as.GetJobName(), needs)
	}
	a.finish(as.GetAttemptId(), success)
	r.want(runID, "succeeded build:succeeded test:succeeded")
	v := r.run(runID)
	if v.GetEndedMs() == 0 || v.GetNumber() != 1 || v.GetJobs()[1].GetNeeds()[0] != "build" || v.GetJobs()[0].GetOutputs()["version"] != "1.2" {
		t.Fatalf("%v", v)
	}
	if len(r.runs) != 0 || len(r.attempts) != 0 {
		t.Fatal("an ended run is still in memory")
	}
	for _, name := range []string{"#1", runID[:20]} {
		if got := r.run(name); got.GetId() != runID {
			t.Fatalf("%s is %s", name, got.GetId())
		}
	}
}

func TestFailureSkipsAndAlwaysRuns(t *testing.T) {
	r := newRig(t)
	a := r.agent("a", 5)
	cleanup, onFail := job("cleanup", "deploy"), job("notify", "build")
	cleanup.Condition, onFail.Condition = "always()", "failure()"
	tolerant := job("tolerant")
	tolerant.ContinueOnError = lit("true")
	runID := r.submit(plan(job("build"), tolerant, job("deploy", "build"), job("after", "deploy"), cleanup, onFail))
	for range 2 {
		as := a.offer()
		a.finish(as.GetAttemptId(), failure, func(rep *corev1.Report) { rep.Failure = userFailure("step-failed", "exit 3") })
	}
	if got := []string{a.work(success), a.work(success)}; got[0]+got[1] != "cleanupnotify" && got[0]+got[1] != "notifycleanup" {
		t.Fatal(got)
	}
	r.want(runID, "failed build:failed tolerant:failed deploy:skipped after:skipped cleanup:succeeded notify:succeeded")
	v := r.run(runID)
	if v.GetFailure().GetCode() != "step-failed" || !strings.Contains(v.GetFailure().GetMessage(), "build: exit 3") || v.GetJobs()[2].GetReason() == "" {
		t.Fatalf("%v", v)
	}
}

func TestEverythingSkippedAndInvalid(t *testing.T) {
	r := newRig(t)
	no := job("no")
	no.Condition = "github.ref == 'refs/heads/other'"
	if id := r.submit(plan(no, job("next", "no"))); r.states(id) != "skipped no:skipped next:skipped" {
		t.Fatal(r.states(id))
	}
	bad := job("bad")
	bad.Condition = "fromJSON('{')"
	id := r.submit(plan(bad))
	r.want(id, "failed bad:failed")
	if f := r.run(id).GetJobs()[0].GetFailure(); f.GetCode() != "invalid-job" || f.GetFault() != corev1.Fault_FAULT_USER || !strings.Contains(f.GetMessage(), "if:") {
		t.Fatalf("%v", f)
	}
	alien := job("alien")
	alien.RunsOn = []*planv1.Value{lit("windows-latest")}
	id = r.submit(plan(alien))
	if f := r.run(id).GetJobs()[0].GetFailure(); !strings.Contains(f.GetMessage(), "windows-latest") {
		t.Fatalf("%v", f)
	}
}

func legs(j *planv1.Job, n int) *planv1.Job {
	j.Strategy = &planv1.Strategy{}
	for i := range n {
		j.Strategy.Legs = append(j.Strategy.Legs, fmt.Sprintf(`{"node":%d}`, 20+i))
		j.Strategy.LegLabels = append(j.Strategy.LegLabels, fmt.Sprint(20+i))
	}
	return j
}

func TestStaticMatrixWithMaxParallel(t *testing.T) {
	r := newRig(t)
	a := r.agent("a", 10)
	m := legs(job("test"), 4)
	m.Strategy.MaxParallel = lit("2")
	runID := r.submit(plan(m))
	r.want(runID, "running test.0:assigned test.1:assigned test.2:waiting test.3:waiting")
	as := a.offer()
	ctx := contextOf(t, as)
	if as.GetJobName() != "test (20)" || fmt.Sprint(ctx["matrix"]) != "map[node:20]" || fmt.Sprint(ctx["strategy"]) != "map[fail-fast:true job-index:0 job-total:4 max-parallel:2]" {
		t.Fatalf("%s %v", as.GetJobName(), ctx)
	}
	a.finish(as.GetAttemptId(), success)
	r.want(runID, "running test.0:succeeded test.1:assigned test.2:assigned test.3:waiting")
	for range 3 {
		a.work(success)
	}
	r.want(runID, "succeeded test.0:succeeded test.1:succeeded test.2:succeeded test.3:succeeded")
}

func TestFailFast(t *testing.T) {
	r := newRig(t)
	a := r.agent("a", 2)
	runID := r.submit(plan(legs(job("test"), 4)))
	one, two := a.offer(), a.offer()
	a.running(two.GetAttemptId())
	a.finish(one.GetAttemptId(), failure)
	if got := a.cancelled(); got != two.GetAttemptId() {
		t.Fatal(got)
	}
	r.want(runID, "running test.0:failed test.1:cancelling test.2:cancelled test.3:cancelled")
	a.finish(two.GetAttemptId(), cancelled)
	r.want(runID, "failed test.0:failed test.1:cancelled test.2:cancelled test.3:cancelled")

	slow := legs(job("test"), 2)
	slow.Strategy.FailFast = lit("false")
	runID = r.submit(plan(slow))
	a.work(failure)
	r.want(runID, "running test.0:failed test.1:assigned")
	a.work(success)
	r.want(runID, "failed test.0:failed test.1:succeeded")
}

func TestDynamicMatrix(t *testing.T) {
	r := newRig(t)
	a := r.agent("a", 10)
	m := job("test", "plan")
	m.Strategy = &planv1.Strategy{Matrix: ex("fromJSON(needs.plan.outputs.matrix)")}
	runID := r.submit(plan(job("plan"), m, job("last", "test")))
	r.want(runID, "running plan:assigned test:blocked last:blocked")
	a.finish(a.offer().GetAttemptId(), success, func(rep *corev1.Report) {
		rep.Outputs = []*corev1.Output{{Name: "matrix", Value: `{"os":["a","b"],"n":[1,2]}`}}
	})
	r.want(runID, "running plan:succeeded test.0:assigned test.1:assigned test.2:assigned test.3:assigned last:blocked")
	if n := a.offer().GetJobName(); n != "test (a, 1)" {
		t.Fatal(n)
	}

	runID = r.submit(plan(job("plan"), m))
	as := a.offer()
	for as.GetRunId() != runID {
		as = a.offer()
	}
	a.finish(as.GetAttemptId(), success, func(rep *corev1.Report) { rep.Outputs = []*corev1.Output{{Name: "matrix", Value: `nope`}} })
	r.want(runID, "failed plan:succeeded test:failed")
}

func TestLargeMatrixIsCreatedInSeveralTransactions(t *testing.T) {
	r := newRig(t)
	before := len(r.store.Commits())
	runID := r.submit(plan(legs(job("test"), 200)))
	if n := len(r.store.Commits()) - before; n != 5 {
		t.Fatalf("%d transactions", n)
	}
	if v := r.run(runID); len(v.GetJobs()) != 200 || v.GetState() != corev1.RunState_RUN_STATE_QUEUED || v.GetJobs()[10].GetId() != "test.10" {
		t.Fatalf("%d jobs, %s", len(v.GetJobs()), v.GetState())
	}
}

func TestDuplicateSubmit(t *testing.T) {
	r := newRig(t)
	s := r.submission(plan(job("build")))
	var wg sync.WaitGroup
	got := make([]string, 8)
	for i := range got {
		wg.Go(func() {
			id, n, err := r.Submit(r.ctx(), s)
			got[i] = fmt.Sprintf("%s %d %v", id, n, err)
		})
	}
	wg.Wait()
	r.restart()
	id, n, err := r.Submit(r.ctx(), s)
	for _, g := range got {
		if g != fmt.Sprintf("%s %d %v", id, n, err) || n != 1 {
			t.Fatalf("%s, then %s %d %v", g, id, n, err)
		}
	}
	if other := r.submit(plan(job("build"))); r.run(other).GetNumber() != 2 {
		t.Fatal("a repeat used up a number")
	}
	runs, err := r.Runs(r.ctx(), "team/app", 0)
	if err != nil || len(runs) != 2 || runs[0].GetNumber() != 2 || runs[1].GetId() != id {
		t.Fatalf("%v %v", runs, err)
	}
	if runs, _ := r.Runs(r.ctx(), "other", 0); len(runs) != 0 {
		t.Fatal("another project's runs")
	}
}

func TestNumbersBelongToAProject(t *testing.T) {
	r := newRig(t)
	r.submit(plan(job("build")))
	s := r.submission(plan(job("build")))
	s.Project = "other/app"
	if _, n, err := r.Submit(r.ctx(), s); err != nil || n != 1 {
		t.Fatalf("%d %v", n, err)
	}
	if _, err := r.Run(r.ctx(), "#1"); rpcerr.ReasonOf(err) != rpcerr.InvalidRequest || !strings.Contains(err.Error(), "other/app") {
		t.Fatalf("%v", err)
	}
	if _, err := r.Run(r.ctx(), "#7"); rpcerr.ReasonOf(err) != rpcerr.NotFound {
		t.Fatalf("%v", err)
	}
}

func TestRejectedOfferIsTriedElsewhereThenAgain(t *testing.T) {
	r := newRig(t)
	a := r.agent("a", 1)
	runID := r.submit(plan(job("build")))
	as := a.offer()
	if err := r.OfferReply(r.ctx(), a.session, &fleetv1.OfferReply{AttemptId: as.GetAttemptId(), Reason: "no disk"}); err != nil {
		t.Fatal(err)
	}
	r.want(runID, "running build:queued")
	if why := r.run(runID).GetJobs()[0].GetReason(); !strings.Contains(why, "rejected it: no disk") {
		t.Fatal(why)
	}
	r.clock.Advance(2 * time.Second)
	again := a.offer()
	if again.GetAttempt() != 2 || again.GetAttemptId() == as.GetAttemptId() {
		t.Fatalf("%v", again)
	}
	if err := a.report(as.GetAttemptId(), corev1.AttemptState_ATTEMPT_STATE_RUNNING); rpcerr.ReasonOf(err) != rpcerr.Fenced {
		t.Fatalf("%v", err)
	}
}

func TestReportsAreIdempotent(t *testing.T) {
	r := newRig(t)
	a := r.agent("a", 1)
	runID := r.submit(plan(job("build")))
	as := a.offer()
	a.running(as.GetAttemptId())
	commits := len(r.store.Commits())
	a.seq[as.GetAttemptId()] = 0
	a.running(as.GetAttemptId()) // seq 1 again
	if len(r.store.Commits()) != commits {
		t.Fatal("a repeated report was stored again")
	}
	a.finish(as.GetAttemptId(), success)
	a.seq[as.GetAttemptId()]--
	a.finish(as.GetAttemptId(), failure)
	r.want(runID, "succeeded build:succeeded")
	for state, change := range map[corev1.AttemptState]func(*corev1.Report){
		corev1.AttemptState_ATTEMPT_STATE_LOST: func(*corev1.Report) {},
		corev1.AttemptState_ATTEMPT_STATE_DONE: func(rep *corev1.Report) { rep.Result = 0 },
	} {
		r.submit(plan(job("build")))
		as = a.offer()
		if err := a.report(as.GetAttemptId(), state, change); rpcerr.ReasonOf(err) != rpcerr.InvalidRequest {
			t.Fatalf("%s: %v", state, err)
		}
		a.finish(as.GetAttemptId(), success)
	}
}

func TestRetryPolicy(t *testing.T) {
	r := newRig(t)
	a := r.agent("a", 1)
	flaky := job("flaky")
	flaky.Retry = &planv1.Retry{Attempts: 3, On: []string{"failure"}, BackoffMs: 5000}
	runID := r.submit(plan(flaky))
	a.work(failure)
	r.want(runID, "running flaky:queued")
	if a.offers() != 0 {
		t.Fatal("the back-off is ignored")
	}
	r.clock.Advance(6 * time.Second)
	if as := a.offer(); as.GetAttempt() != 2 {
		t.Fatalf("%v", as)
	} else {
		a.finish(as.GetAttemptId(), success)
	}
	r.want(runID, "succeeded flaky:succeeded")
}

func TestWatch(t *testing.T) {
	r := newRig(t)
	a := r.agent("a", 1)
	runID := r.submit(plan(job("build"), job("test", "build")))
	ch, err := r.Watch(r.ctx(), runID)
	if err != nil {
		t.Fatal(err)
	}
	fast, err := r.Watch(r.ctx(), runID)
	if err != nil {
		t.Fatal(err)
	}
	var last corev1.RunState
	done := make(chan []*apiv1.Run, 1)
	go func() {
		var all []*apiv1.Run
		for v := range fast {
			all = append(all, v)
		}
		done <- all
	}()
	a.work(success)
	a.work(success)
	// This one reads late: it skips states, but not the last.
	n := 0
	for v := range ch {
		if v.GetState() < last {
			t.Fatalf("went back from %s to %s", last, v.GetState())
		}
		last = v.GetState()
		n++
	}
	if !lifecycle.Run.IsTerminal(last) || n > 3 {
		t.Fatalf("%d views, the last %s", n, last)
	}
	if all := <-done; !lifecycle.Run.IsTerminal(all[len(all)-1].GetState()) {
		t.Fatal("no end")
	}
	ended, err := r.Watch(r.ctx(), runID)
	if err != nil {
		t.Fatal(err)
	}
	if v := <-ended; v.GetState() != corev1.RunState_RUN_STATE_SUCCEEDED {
		t.Fatalf("%v", v)
	}
	if _, more := <-ended; more {
		t.Fatal("not closed")
	}
}
