package engine

import (
	"fmt"
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/coordinator/store/faultstore"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// rerun begins the next attempt of a run.
func (r *rig) rerun(run string, change ...func(*RerunRequest)) Rerun {
	r.t.Helper()
	q := RerunRequest{RequestID: r.ids.New(), Run: run, By: "bob"}
	for _, f := range change {
		f(&q)
	}
	again, err := r.Rerun(r.ctx(), q)
	if err != nil {
		r.t.Fatal(err)
	}
	return again
}

func onlyFailed(q *RerunRequest)               { q.Failed = true }
func onlyJob(job string) func(*RerunRequest)   { return func(q *RerunRequest) { q.Job = job } }
func output(name, value string) *corev1.Output { return &corev1.Output{Name: name, Value: value} }
func gives(outs ...*corev1.Output) func(*corev1.Report) {
	return func(r *corev1.Report) { r.Outputs = outs }
}

// do works on offers until none is left; ends says how each job ends, success without an entry.
func (a *fakeAgent) do(ends map[string]corev1.Result, change ...func(*corev1.Report)) []*fleetv1.Assignment {
	a.r.t.Helper()
	var all []*fleetv1.Assignment
	for a.offers() > 0 {
		as := a.offer()
		all = append(all, as)
		a.accept(as.GetAttemptId())
		a.running(as.GetAttemptId())
		res := success
		if r, ok := ends[as.GetJobId()]; ok {
			res = r
		}
		a.finish(as.GetAttemptId(), res, change...)
	}
	return all
}

func jobsOf(all []*fleetv1.Assignment) string {
	var ids []string
	for _, as := range all {
		ids = append(ids, as.GetJobId())
	}
	return strings.Join(ids, " ")
}

// wide is a job with a matrix that does not fail fast.
func wide(id string, n int) *planv1.Job {
	j := job(id)
	j.Strategy = &planv1.Strategy{FailFast: lit("false")}
	for i := range n {
		j.Strategy.Legs = append(j.Strategy.Legs, fmt.Sprintf(`{"n":%d}`, i))
		j.Strategy.LegLabels = append(j.Strategy.LegLabels, fmt.Sprint(i))
	}
	return j
}

// diamond: a → b, c → d; e alone.
func diamond() *planv1.Plan {
	return plan(job("a"), job("b", "a"), job("c", "a"), job("d", "b", "c"), job("e"))
}

func TestWhatIsRunAgain(t *testing.T) {
	for name, c := range map[string]struct {
		ends  map[string]corev1.Result
		what  []func(*RerunRequest)
		again string
	}{
		"all":                {map[string]corev1.Result{"b": failure}, nil, "a e b c d"},
		"failed":             {map[string]corev1.Result{"b": failure}, []func(*RerunRequest){onlyFailed}, "b d"},
		"the root failed":    {map[string]corev1.Result{"a": failure}, []func(*RerunRequest){onlyFailed}, "a b c d"},
		"two failed":         {map[string]corev1.Result{"b": failure, "e": failure}, []func(*RerunRequest){onlyFailed}, "b e d"},
		"a job":              {nil, []func(*RerunRequest){onlyJob("c")}, "c d"},
		"a job that is last": {map[string]corev1.Result{"b": failure}, []func(*RerunRequest){onlyJob("e")}, "e"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			a := r.agent("a1", 8)
			first := r.submit(diamond())
			a.do(c.ends, gives(output("v", "1")))
			again := r.rerun(first, c.what...)
			if again.Attempt != 2 || again.Number != 1 || again.RunID == first {
				t.Fatalf("%+v", again)
			}
			if got := jobsOf(a.do(nil)); got != c.again {
				t.Errorf("ran %s, want %s", got, c.again)
			}
			v := r.run(again.RunID)
			for _, j := range v.GetJobs() {
				kept := !strings.Contains(" "+c.again+" ", " "+j.GetId()+" ")
				if (j.GetKeptFrom() == first) != kept || (j.GetKeptAttempt() == 1) != kept || kept && j.GetState() == corev1.JobState_JOB_STATE_SUCCEEDED && j.GetOutputs()["v"] != "1" {
					t.Errorf("job %s: %v", j.GetId(), j)
				}
			}
			if old := r.run(first); old.GetAttempt() != 1 || len(old.GetJobs()) != 5 {
				t.Errorf("the first attempt is now %v", old)
			}
		})
	}
}

func TestARerunIsAnAttemptOfTheSameRun(t *testing.T) {
	r := newRig(t)
	a := r.agent("a1", 8)
	next := job("next", "build")
	first := r.submit(plan(job("build"), next))
	a.do(map[string]corev1.Result{"next": failure}, gives(output("v", "one")))
	q := RerunRequest{RequestID: r.ids.New(), Run: "#1", Failed: true, By: "bob"}
	again, err := r.Rerun(r.ctx(), q)
	if err != nil {
		t.Fatal(err)
	}
	as := a.offer()
	github := contextOf(t, as)["github"].(map[string]any)
	if github["run_id"] != first || github["run_attempt"] != "2" || github["run_number"] != "1" || github["actor"] != "ada" || github["triggering_actor"] != "bob" {
		t.Errorf("github is %v", github)
	}
	needs := fmt.Sprint(contextOf(t, as)["needs"])
	if !strings.Contains(needs, "v:one") || !strings.Contains(needs, "result:success") {
		t.Errorf("needs is %s", needs)
	}
	// A repeat, also at another leader, is the same attempt.
	if repeat, err := r.Rerun(r.ctx(), q); err != nil || repeat != again {
		t.Errorf("the repeat is %+v, %v", repeat, err)
	}
	a.accept(as.GetAttemptId())
	a.running(as.GetAttemptId())
	a.finish(as.GetAttemptId(), success)
	r.want(again.RunID, "succeeded build:succeeded next:succeeded")
	r.restart()
	if repeat, err := r.Rerun(r.ctx(), q); err != nil || repeat != again {
		t.Errorf("the repeat at another leader is %+v, %v", repeat, err)
	}
	for name, want := range map[string]string{"#1": again.RunID, "#1.1": first, "#1.2": again.RunID, first + ".2": again.RunID, first: first, again.RunID[:20] + ".1": first} {
		if v := r.run(name); v.GetId() != want {
			t.Errorf("%s is %s, want %s", name, v.GetId(), want)
		}
	}
	v := r.run("#1")
	j := v.GetJobs()[1]
	if !v.GetFlaky() || !j.GetFlaky() || len(j.GetTries()) != 1 || j.GetTries()[0].GetEnding() != endFailure || j.GetTries()[0].GetRunAttempt() != 1 || v.GetJobs()[0].GetFlaky() {
		t.Errorf("passed on retry: %v", v)
	}
	if _, n, err := r.Submit(r.ctx(), r.submission(plan(job("x")))); err != nil || n != 2 {
		t.Errorf("the next run is #%d, %v", n, err)
	}
}

func TestRerunsThatAreRefused(t *testing.T) {
	r := newRig(t)
	a := r.agent("a1", 8)
	first := r.submit(plan(job("build")))
	refused := func(reason rpcerr.Reason, word string, q RerunRequest) {
		t.Helper()
		if q.RequestID == "" {
			q.RequestID = r.ids.New()
		}
		if _, err := r.Rerun(r.ctx(), q); rpcerr.ReasonOf(err) != reason || !strings.Contains(err.Error(), word) {
			t.Errorf("%+v: %v", q, err)
		}
	}
	refused(rpcerr.RunNotEnded, "it can be run again once it has ended", RerunRequest{Run: first})
	a.do(nil)
	refused(rpcerr.InvalidRequest, "no job of run #1 failed", RerunRequest{Run: first, Failed: true})
	refused(rpcerr.InvalidRequest, `no job "lint"; it has build`, RerunRequest{Run: first, Job: "lint"})
	refused(rpcerr.InvalidRequest, "not both", RerunRequest{Run: first, Job: "build", Failed: true})
	refused(rpcerr.NotFound, "no run #7", RerunRequest{Run: "#7"})
	refused(rpcerr.NotFound, "no attempt 2", RerunRequest{Run: "#1.2"})
	r.rerun(first)
	a.do(nil)
	refused(rpcerr.InvalidRequest, "attempt 1 of run #1 is not its newest", RerunRequest{Run: first})
}

// TestALegIsRunAgainAlone: what succeeded of a matrix is kept, and what needs the matrix sees both.
func TestALegIsRunAgainAlone(t *testing.T) {
	r := newRig(t)
	a := r.agent("a1", 8)
	first := r.submit(plan(wide("test", 3), job("after", "test")))
	a.do(map[string]corev1.Result{"test.1": failure})
	again := r.rerun(first, onlyFailed)
	if got := jobsOf(a.do(nil)); got != "test.1 after" {
		t.Errorf("ran %s", got)
	}
	r.want(again.RunID, "succeeded test.0:succeeded test.1:succeeded test.2:succeeded after:succeeded")
	third := r.rerun("#1", onlyJob("test.2"))
	if got := jobsOf(a.do(nil)); got != "test.2 after" || third.Attempt != 3 {
		t.Errorf("ran %s in attempt %d", got, third.Attempt)
	}
	v := r.run(third.RunID)
	if v.GetJobs()[0].GetKeptAttempt() != 1 || v.GetJobs()[1].GetKeptAttempt() != 2 {
		t.Errorf("kept from %v", v.GetJobs())
	}
	if v := r.run("#1.2"); v.GetId() != again.RunID {
		t.Errorf("#1.2 is %s", v.GetId())
	}
}

// TestALeaderDiesWhileARerunIsCreated: the next one makes the rest, the same.
func TestALeaderDiesWhileARerunIsCreated(t *testing.T) {
	r := newRig(t)
	a := r.agent("a1", 200)
	first := r.submit(plan(wide("test", 120), job("after", "test")))
	a.do(map[string]corev1.Result{"test.7": failure, "test.99": failure})
	r.settle()
	q := RerunRequest{RequestID: r.ids.New(), Run: first, Failed: true}
	r.store.Plan(faultstore.None, faultstore.Held)
	failed := make(chan error, 1)
	go func() {
		_, err := r.Rerun(r.ctx(), q)
		failed <- err
	}()
	<-r.store.Holding()
	r.restart()
	if err := <-failed; rpcerr.ReasonOf(err) != rpcerr.NotLeader {
		t.Fatalf("%v", err)
	}
	again, err := r.Rerun(r.ctx(), q)
	if err != nil || again.Attempt != 2 {
		t.Fatalf("%+v %v", again, err)
	}
	a.connect()
	if got := jobsOf(a.do(nil)); got != "test.7 test.99 after" {
		t.Errorf("ran %s", got)
	}
	if v := r.run(again.RunID); v.GetState() != corev1.RunState_RUN_STATE_SUCCEEDED || len(v.GetJobs()) != 121 {
		t.Errorf("%d jobs in a run that is %s", len(v.GetJobs()), v.GetState())
	}
}

func TestTriesAreKept(t *testing.T) {
	r := newRig(t)
	a := r.agent("a1", 1)
	j := job("build")
	j.Retry = &planv1.Retry{Attempts: 3, On: []string{"failure"}}
	run := r.submit(plan(j))
	a.work(failure)
	r.Heartbeat("a1", a.session, 1)
	a.work(success)
	r.settle()
	v := r.run(run)
	got := v.GetJobs()[0]
	if !got.GetFlaky() || !v.GetFlaky() || got.GetAttempt() != 2 || len(got.GetTries()) != 1 {
		t.Fatalf("%v", got)
	}
	if x := got.GetTries()[0]; x.GetNumber() != 1 || x.GetEnding() != endFailure || x.GetAgent() != "a1" || x.GetReason() != "a step failed" || x.GetRunAttempt() != 1 || x.GetEndedMs() < x.GetOfferedMs() {
		t.Errorf("%v", x)
	}
	why, err := r.Why(r.ctx(), run, "build")
	if err != nil || len(why.GetJobs()[0].GetTries()) != 1 {
		t.Errorf("%v %v", why, err)
	}
}

func TestTriesAreBounded(t *testing.T) {
	var tries []*corev1.Try
	for i := range 100 {
		tries = addTry(tries, &corev1.Try{Number: uint32(i + 1)})
	}
	if len(tries) != firstTries+lastTries || tries[0].GetNumber() != 1 || tries[firstTries-1].GetNumber() != firstTries || tries[firstTries].GetNumber() != 100-lastTries+1 {
		t.Errorf("%v", tries)
	}
}
