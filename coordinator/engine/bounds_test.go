package engine

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"github.com/slipway-ci/slipway/coordinator/store"
	"github.com/slipway-ci/slipway/coordinator/store/faultstore"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// leads fails if the engine has stepped down, as it does when the store refuses a record.
func (r *rig) leads() {
	r.t.Helper()
	r.settle()
	if r.isDone() {
		r.t.Fatal("the engine stepped down")
	}
}

func TestLargeResultsThatArriveTogether(t *testing.T) {
	r := newRig(t)
	a := r.agent("a", 30)
	runID := r.submit(plan(legs(job("test"), 30), job("last", "test")))
	var attempts []string
	for range 30 {
		attempts = append(attempts, a.offer().GetAttemptId())
	}
	r.settle()
	// All reports but the first gather while its transaction is in flight: 29 × 200 KiB in one draft.
	r.store.Plan(faultstore.Held)
	var wg sync.WaitGroup
	finish := func(id string) {
		wg.Go(func() {
			rep := &corev1.Report{AttemptId: id, Seq: 1, State: corev1.AttemptState_ATTEMPT_STATE_DONE, Result: success,
				Outputs: []*corev1.Output{{Name: "out", Value: strings.Repeat("x", 200<<10)}}}
			if err := r.Report(r.ctx(), a.session, rep); err != nil {
				t.Error(err)
			}
		})
	}
	finish(attempts[0])
	<-r.store.Holding()
	for _, id := range attempts[1:] {
		finish(id)
	}
	for waiting := 0; waiting < 29; {
		if err := r.ask(r.ctx(), func(reply func(error)) { waiting = len(r.runs[runID].inbox); reply(nil) }); err != nil {
			t.Fatal(err)
		}
	}
	r.store.Release()
	wg.Wait()
	r.leads()
	a.finish(a.offer().GetAttemptId(), success)
	if v := r.run(runID); v.GetState() != corev1.RunState_RUN_STATE_SUCCEEDED {
		t.Fatalf("%s", v.GetState())
	}
}

func TestAReportIsCutToItsBounds(t *testing.T) {
	r := newRig(t)
	a := r.agent("a", 1)
	runID := r.submit(plan(job("build")))
	as := a.offer()
	long := strings.Repeat("ä", 1<<20)
	a.finish(as.GetAttemptId(), failure, func(rep *corev1.Report) {
		rep.Failure = &corev1.Failure{Code: "step-failed", Message: long}
		rep.Steps = nil
		for n := range 5000 {
			rep.Steps = append(rep.Steps, &corev1.StepStatus{Number: uint32(n), Name: long[:2000], Failure: &corev1.Failure{Message: long[:2000]}})
			rep.Annotations = append(rep.Annotations, &corev1.Annotation{Level: "error", Title: long[:2000], File: long[:2000], Message: long[:2000]})
			rep.Logs = append(rep.Logs, &corev1.LogSum{Step: uint32(n), Sha256: strings.Repeat("0", 64)})
		}
	})
	r.leads()
	j := r.run(runID).GetJobs()[0]
	if len(j.GetSteps()) != maxSteps || len(j.GetAnnotations()) != maxAnnotations || len(j.GetFailure().GetMessage()) > maxText || !utf8.ValidString(j.GetFailure().GetMessage()) {
		t.Fatalf("%d steps, %d annotations, failure of %d bytes", len(j.GetSteps()), len(j.GetAnnotations()), len(j.GetFailure().GetMessage()))
	}
	if n := proto.Size(j); n > store.MaxTxnBytes/2 {
		t.Fatalf("a job of %d bytes", n)
	}
}

func TestTheLargestRecordsFitIntoATransaction(t *testing.T) {
	rep := &corev1.Report{}
	text := strings.Repeat("x", 8<<10)
	for n := range 5000 {
		rep.Steps = append(rep.Steps, &corev1.StepStatus{Number: uint32(n), Name: text, State: corev1.StepState_STEP_STATE_FAILED, Outcome: failure, Conclusion: failure,
			ExitCode: -1, StartedMs: 1 << 40, EndedMs: 1 << 40, Failure: &corev1.Failure{Code: text, Fault: corev1.Fault_FAULT_SYSTEM, Message: text}})
		rep.Annotations = append(rep.Annotations, &corev1.Annotation{Level: text, Title: text, File: text, Message: text, Line: 1 << 31, Column: 1 << 31, Step: 1 << 31})
		rep.Logs = append(rep.Logs, &corev1.LogSum{Step: 1 << 31, Length: 1 << 40, Sha256: strings.Repeat("0", 64)})
	}
	if n := proto.Size(boundReport(rep)) + maxOutputs + maxMatrix + 2*maxText + stageBytes; n > store.MaxTxnBytes {
		t.Fatalf("%d bytes, more than the %d of a transaction", n, store.MaxTxnBytes)
	}
}

func TestValuesTooLargeForARecordFailTheirJob(t *testing.T) {
	r := newRig(t)
	a := r.agent("a", 1)
	matrix, label, name := job("matrix"), job("label"), job("name")
	matrix.Strategy = &planv1.Strategy{Matrix: ex("fromJSON(format('{{\"v\":[\"{0}\"]}}', github.event.big))")}
	label.Pool = []*planv1.Value{ex("github.event.big")}
	name.Name = ex("github.event.big")
	p := plan(matrix, label, name)
	p.RunName = ex("github.event.big")
	s := r.submission(p)
	s.EventPayload = fmt.Sprintf(`{"big":%q}`, strings.Repeat("x", 900<<10))
	runID, _, err := r.Submit(r.ctx(), s)
	if err != nil {
		t.Fatal(err)
	}
	r.leads()
	if as := a.offer(); as.GetJobId() != "name" || len(as.GetJobName()) > 100 || len(as.GetContexts()) < 900<<10 {
		t.Fatalf("%.200s", as)
	}
	r.want(runID, "running matrix:failed label:failed name:assigned")
	if n := len(r.run(runID).GetName()); n > maxLabel {
		t.Fatalf("a name of %d bytes", n)
	}
	static := job("static")
	static.Strategy = &planv1.Strategy{Legs: []string{`{"v":"` + strings.Repeat("x", maxMatrix) + `"}`}}
	if _, _, err := r.Submit(r.ctx(), r.submission(plan(static))); rpcerr.ReasonOf(err) != rpcerr.InvalidRequest {
		t.Fatalf("%v", err)
	}
}

func TestARunHasSoManyJobs(t *testing.T) {
	r := newRig(t)
	var jobs []*planv1.Job
	for i := range 16 {
		jobs = append(jobs, legs(job(fmt.Sprint("static", i)), 256))
	}
	if _, _, err := r.Submit(r.ctx(), r.submission(plan(append(jobs, job("one-more"))...))); rpcerr.ReasonOf(err) != rpcerr.InvalidRequest {
		t.Fatalf("%v", err)
	}
	dynamic := job("dynamic")
	dynamic.Strategy = &planv1.Strategy{Matrix: ex("fromJSON('{\"v\":[1,2,3]}')")}
	runID := r.submit(plan(append(jobs[:15], legs(job("rest"), 254), dynamic)...))
	r.leads()
	for _, j := range r.run(runID).GetJobs() {
		if j.GetKey() == "dynamic" && !strings.Contains(j.GetFailure().GetMessage(), "split the workflow") {
			t.Fatalf("%v", j)
		}
	}
	if n := len(r.run(runID).GetJobs()); n != 15*256+254+1 {
		t.Fatalf("%d jobs", n)
	}
}

func TestContextsTooLargeForAnAssignmentFailTheJob(t *testing.T) {
	r := newRig(t)
	a := r.agent("a", 12)
	var jobs []*planv1.Job
	var needs []string
	for i := range 12 {
		needs = append(needs, fmt.Sprint("part", i))
		jobs = append(jobs, job(needs[i]))
	}
	runID := r.submit(plan(append(jobs, job("all", needs...))...))
	for range needs {
		a.finish(a.offer().GetAttemptId(), success, func(rep *corev1.Report) {
			rep.Outputs = []*corev1.Output{{Name: "out", Value: strings.Repeat("x", 250<<10)}}
		})
	}
	r.leads()
	v := r.run(runID)
	if f := v.GetJobs()[12].GetFailure(); v.GetState() != corev1.RunState_RUN_STATE_FAILED || !strings.Contains(f.GetMessage(), "pass large data as an artifact") {
		t.Fatalf("%s %v", v.GetState(), f)
	}
	if agents, err := r.Agents(r.ctx()); err != nil || agents[0].GetSlotsUsed() != 0 {
		t.Fatalf("%v %v", agents, err)
	}
}

func TestArtifactsFitIntoTheHeader(t *testing.T) {
	tests := &corev1.TestSummary{Tests: 100, Failures: 100}
	for range 100 {
		tests.Failed = append(tests.Failed, &corev1.TestCase{Suite: "s", Name: "n", Message: strings.Repeat("x", 4<<10)})
	}
	h := &statev1.RunHeader{}
	var err error
	for n := 0; err == nil && n < 10_000; n++ {
		var a *corev1.Artifact
		if a, err = boundArtifact(h, &corev1.Artifact{Name: fmt.Sprintf("%0200d", n), Digest: fmt.Sprint("sha256:", n), Tests: tests}); err == nil {
			h.Artifacts = append(h.Artifacts, a)
		}
	}
	all := h.GetArtifacts()
	if rpcerr.ReasonOf(err) != rpcerr.InvalidRequest || len(all) < 500 || proto.Size(h) > maxArtifacts+maxArtifacts/50 {
		t.Fatalf("%d artifacts of %d bytes: %v", len(all), proto.Size(h), err)
	}
	if first, last := all[0].GetTests(), all[len(all)-1].GetTests(); len(first.GetFailed()) != maxTestCases || len(last.GetFailed()) != 0 || last.GetFailures() != 100 {
		t.Fatalf("%d and %d failed cases of %d", len(first.GetFailed()), len(last.GetFailed()), last.GetFailures())
	}
	// A header that is as large as it may be still ends with its run.
	r := newRig(t)
	a := r.agent("a", 1)
	runID := r.submit(plan(job("build")))
	as := a.offer()
	ref, err := r.Attempt(r.ctx(), "a", as.GetAttemptId(), as.GetToken())
	if err != nil {
		t.Fatal(err)
	}
	full := &corev1.Artifact{Name: strings.Repeat("n", maxArtifacts-200), Digest: "sha256:1"}
	if err := r.AddArtifact(r.ctx(), ref, full, false); err != nil {
		t.Fatal(err)
	}
	if err := r.AddArtifact(r.ctx(), ref, &corev1.Artifact{Name: strings.Repeat("m", 200), Digest: "sha256:2"}, false); rpcerr.ReasonOf(err) != rpcerr.InvalidRequest {
		t.Fatalf("%v", err)
	}
	r.cancel(runID)
	a.finish(as.GetAttemptId(), cancelled)
	r.leads()
	r.want(runID, "cancelled build:cancelled")
}
