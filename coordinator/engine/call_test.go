package engine

import (
	"fmt"
	"strings"
	"testing"

	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

func callOf(id, path string, needs ...string) *planv1.Job {
	return &planv1.Job{Id: id, Needs: needs, Condition: "success()", Call: &planv1.Call{Path: path}}
}

func entry(name string, v *planv1.Value) *planv1.Entry { return &planv1.Entry{Name: name, Value: v} }

// callPlan: build → a call for two targets → after. The called workflow has plan → apply, and calls another one.
func callPlan() *planv1.Plan {
	deploy := legs(callOf("deploy", "deploy.yml", "build"), 2)
	deploy.Call.With = []*planv1.Entry{entry("target", ex("matrix.node")), entry("version", ex("needs.build.outputs.version"))}
	apply, inner := job("apply", "plan"), callOf("inner", "notify.yml", "apply")
	apply.Name = ex("format('apply {0} to {1}', inputs.version, inputs.target)")
	after := job("after", "deploy")
	after.Name = ex("needs.deploy.outputs.where")
	p := plan(job("build"), deploy, after)
	p.Env = []*planv1.Entry{entry("A", lit("caller"))}
	p.Workflows = []*planv1.Workflow{
		{Path: "deploy.yml", Jobs: []*planv1.Job{job("plan"), apply, inner}, Env: []*planv1.Entry{entry("B", lit("callee"))},
			Inputs:  []*planv1.Input{{Name: "target", Type: "number", Required: true}, {Name: "version", Type: "string"}, {Name: "dry", Type: "boolean", DefaultValue: ex("true")}},
			Outputs: []*planv1.Entry{entry("where", ex("format('{0} {1} {2}', inputs.target, jobs.apply.result, jobs.apply.outputs.url)"))}},
		{Path: "notify.yml", Jobs: []*planv1.Job{job("mail")}},
	}
	return p
}

func TestACallRunsAWorkflow(t *testing.T) {
	r := newRig(t)
	a := r.agent("a", 9)
	id := r.submit(callPlan())
	r.want(id, "running build:assigned deploy.0:blocked deploy.1:blocked after:blocked")
	as := a.offer()
	a.finish(as.GetAttemptId(), success, func(rep *corev1.Report) { rep.Outputs = []*corev1.Output{{Name: "version", Value: "7"}} })
	r.want(id, "running build:succeeded deploy.0.plan:assigned deploy.0.apply:blocked deploy.0.inner:blocked deploy.1.plan:assigned deploy.1.apply:blocked deploy.1.inner:blocked after:blocked")
	as = a.offer()
	ctx := contextOf(t, as)
	if fmt.Sprint(ctx["inputs"]) != "map[dry:true target:20 version:7]" || fmt.Sprint(ctx["needs"]) != "map[]" || ctx["matrix"] != nil {
		t.Fatalf("%v", ctx)
	}
	if as.GetJobName() != "deploy (20) / plan" || len(as.GetWorkflowEnv()) != 1 || as.GetWorkflowEnv()[0].GetName() != "B" {
		t.Fatalf("%s %v", as.GetJobName(), as.GetWorkflowEnv())
	}
	a.finish(as.GetAttemptId(), success)
	// A new leader finds the calls, their inputs and names in the records.
	r.restart()
	a.connect()
	names := map[string]bool{}
	for range 5 {
		as = a.offer()
		names[as.GetJobName()] = true
		a.finish(as.GetAttemptId(), success, func(rep *corev1.Report) { rep.Outputs = []*corev1.Output{{Name: "url", Value: as.GetJobId()}} })
	}
	for _, name := range []string{"deploy (21) / plan", "deploy (20) / apply 7 to 20", "deploy (21) / apply 7 to 21", "deploy (20) / inner / mail", "deploy (21) / inner / mail"} {
		if !names[name] {
			t.Fatalf("no %s: %v", name, names)
		}
	}
	// The last leg wins the outputs.
	as = a.offer()
	if as.GetJobName() != "21 success deploy.1.apply" {
		t.Fatal(as.GetJobName())
	}
	a.finish(as.GetAttemptId(), success)
	r.want(id, "succeeded build:succeeded deploy.0.plan:succeeded deploy.0.apply:succeeded deploy.0.inner.mail:succeeded "+
		"deploy.1.plan:succeeded deploy.1.apply:succeeded deploy.1.inner.mail:succeeded after:succeeded")
	v := r.run(id)
	if got := v.GetJobs()[2].GetNeeds(); len(got) != 1 || got[0] != "deploy.0.plan" {
		t.Fatal(got)
	}
}

func TestAFailureInACallFailsItAndFailFastCancelsItsSiblings(t *testing.T) {
	r := newRig(t)
	a := r.agent("a", 9)
	p := callPlan()
	cleanup := job("cleanup", "plan")
	cleanup.Condition = "always()"
	p.Workflows[0].Jobs = []*planv1.Job{job("plan"), job("apply", "plan"), cleanup}
	p.Workflows[0].Outputs = nil
	p.Jobs[2].Name = nil
	id := r.submit(p)
	a.work(success)
	one, two := a.offer(), a.offer()
	a.running(two.GetAttemptId())
	a.finish(one.GetAttemptId(), failure, func(rep *corev1.Report) { rep.Failure = userFailure("step-failed", "exit 3") })
	a.work(success) // deploy.0.cleanup: the call fails when all its jobs have ended, and not before
	if a.cancelled() != two.GetAttemptId() {
		t.Fatal("the other leg lives on")
	}
	a.finish(two.GetAttemptId(), cancelled)
	a.work(success) // deploy.1.cleanup, although cancelled
	r.want(id, "failed build:succeeded deploy.0.plan:failed deploy.0.apply:skipped deploy.0.cleanup:succeeded "+
		"deploy.1.plan:cancelled deploy.1.apply:cancelled deploy.1.cleanup:succeeded after:skipped")
	if f := r.run(id).GetFailure(); f.GetCode() != "step-failed" || !strings.Contains(f.GetMessage(), "deploy (20) / plan: exit 3") {
		t.Fatalf("%v", f)
	}
}

func TestCancelReachesIntoCalls(t *testing.T) {
	r := newRig(t)
	a := r.agent("a", 9)
	id := r.submit(callPlan())
	a.work(success)
	one := a.offer()
	two := a.offer()
	if err := r.Cancel(r.ctx(), r.ids.New(), id, "enough"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		a.cancelled()
	}
	a.finish(one.GetAttemptId(), cancelled)
	a.finish(two.GetAttemptId(), cancelled)
	r.want(id, "cancelled build:succeeded deploy.0.plan:cancelled deploy.0.apply:cancelled deploy.0.inner:cancelled "+
		"deploy.1.plan:cancelled deploy.1.apply:cancelled deploy.1.inner:cancelled after:cancelled")
}

func TestSkippedCallsAndWrongInputs(t *testing.T) {
	r := newRig(t)
	p := callPlan()
	p.Jobs = p.Jobs[1:2]
	p.Jobs[0].Needs, p.Jobs[0].Condition = nil, "false"
	r.want(r.submit(p), "skipped deploy.0:skipped deploy.1:skipped")
	for want, with := range map[string][]*planv1.Entry{
		"the input `target` is required":                             nil,
		"the input `target` must be a number, not `many`":            {entry("target", ex("'many'"))},
		"the input `dry` must be a boolean, not `true`":              {entry("target", ex("1")), entry("dry", lit("true"))},
		"the input `version` must be a string, not an object":        {entry("target", ex("1")), entry("version", ex("github.event"))},
		"with.target: can't evaluate `fromJSON('{')`":                {entry("target", ex("fromJSON('{')"))},
		"outputs of deploy.yml: where: can't evaluate `fromJSON('')": {entry("target", ex("1"))},
	} {
		p := callPlan()
		p.Jobs = p.Jobs[1:2]
		p.Jobs[0].Needs, p.Jobs[0].Strategy, p.Jobs[0].Call.With = nil, nil, with
		p.Workflows[0].Outputs = []*planv1.Entry{entry("where", ex("fromJSON('')"))}
		for _, j := range p.Workflows[0].GetJobs() {
			j.Condition = "false"
		}
		v := r.run(r.submit(p))
		r.settle()
		if v = r.run(v.GetId()); v.GetState() != corev1.RunState_RUN_STATE_FAILED || !strings.Contains(v.GetFailure().GetMessage(), want) {
			t.Errorf("%s: %v", want, v)
		}
	}
}

func TestTheGroupOfACalledWorkflowHoldsForTheCall(t *testing.T) {
	r := newRig(t)
	a := r.agent("a", 9)
	p := callPlan()
	p.Workflows[0].Concurrency = &planv1.Concurrency{Group: ex("format('to-{0}', inputs.target)")}
	id := r.submit(p)
	a.work(success)
	if got := r.held(); got != "team%2Fapp/to-20 team%2Fapp/to-21" {
		t.Fatal(got)
	}
	p.Workflows[0].Concurrency = &planv1.Concurrency{Group: lit("all"), Queue: lit("max")}
	second := r.submit(p)
	a.offer()
	a.offer()
	a.work(success)
	r.want(second, "running build:succeeded deploy.0.plan:assigned deploy.0.apply:blocked deploy.0.inner:blocked deploy.1:waiting after:blocked")
	_ = id
}

func TestACallOfTooManyJobsIsRefused(t *testing.T) {
	r := newRig(t)
	p := callPlan()
	p.Jobs = []*planv1.Job{legs(callOf("many", "many.yml"), 256)}
	var jobs []*planv1.Job
	for i := range 17 {
		jobs = append(jobs, job(fmt.Sprintf("j%d", i)))
	}
	p.Workflows = []*planv1.Workflow{{Path: "many.yml", Jobs: jobs}}
	id := r.submit(p)
	r.settle()
	found := false
	for _, j := range r.run(id).GetJobs() {
		found = found || strings.Contains(j.GetFailure().GetMessage(), "more than 4096")
	}
	if !found {
		t.Fatal("nobody said that it is too much")
	}
}
