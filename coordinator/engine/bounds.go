package engine

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/slipway-ci/slipway/internal/rpcerr"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// What users, their files and agents say ends up in records. A record that the store refuses would end the leader, and the next one, and so on:
// so everything is cut to these sizes before it gets into one. A job's record and a run's header stay well below store.MaxTxnBytes. Bytes, where
// nothing else is said.
const (
	// maxText bounds a reason or a failure's message, maxLabel a name of a run, a step or an agent's label, maxWord a code.
	maxText, maxLabel, maxWord = 4 << 10, 255, 64
	// maxSteps bounds the steps of a report, maxStepText what their failures say together.
	maxSteps, maxStepText = 1024, 128 << 10
	// maxAnnotations bounds those kept of an attempt, maxAnnotationText what they say together.
	maxAnnotations, maxAnnotationText = 200, 64 << 10
	// maxOutputs bounds a job's outputs together.
	maxOutputs = 256 << 10
	// maxMatrix bounds the values of one leg, maxJobs the jobs of a run, each leg counted.
	maxMatrix, maxJobs = 64 << 10, 4096
	// maxArtifacts bounds what a run's header says of its artifacts; maxTestText a text in a test summary, maxTestCases its failed cases.
	maxArtifacts              = 256 << 10
	maxTestText, maxTestCases = 1 << 10, 50
	// maxContexts bounds the JSON that an assignment carries.
	maxContexts = 5 << 19
)

// clip shortens a text to n bytes, at a rune's border. What is not UTF-8 is left out: a record can't hold it.
func clip(s string, n int) string {
	s = strings.ToValidUTF8(s, "")
	if len(s) <= n {
		return s
	}
	if n < len("…") {
		return ""
	}
	return strings.ToValidUTF8(s[:n-len("…")], "") + "…"
}

func clipFailure(f *corev1.Failure, n int) *corev1.Failure {
	if f == nil {
		return nil
	}
	return &corev1.Failure{Code: clip(f.GetCode(), maxWord), Fault: f.GetFault(), Message: clip(f.GetMessage(), n)}
}

// boundReport returns what of a report gets into records. Outputs are judged later: they are never cut.
func boundReport(r *corev1.Report) *corev1.Report {
	out := &corev1.Report{AttemptId: r.GetAttemptId(), Seq: r.GetSeq(), State: r.GetState(), Result: r.GetResult(), TimedOut: r.GetTimedOut(),
		Failure: clipFailure(r.GetFailure(), maxText), Outputs: r.GetOutputs(), HeldMs: r.GetHeldMs(), Released: clip(r.GetReleased(), maxReason)}
	left := maxStepText
	for _, s := range r.GetSteps()[:min(len(r.GetSteps()), maxSteps)] {
		c := proto.CloneOf(s)
		c.Name, c.Failure = clip(s.GetName(), maxLabel), clipFailure(s.GetFailure(), min(maxText, left))
		left -= len(c.GetFailure().GetMessage())
		out.Steps = append(out.Steps, c)
	}
	left = maxAnnotationText
	for _, a := range r.GetAnnotations()[:min(len(r.GetAnnotations()), maxAnnotations)] {
		c := &corev1.Annotation{Level: clip(a.GetLevel(), maxWord), Title: clip(a.GetTitle(), min(maxLabel, left)), File: clip(a.GetFile(), min(maxLabel, left)),
			Message: clip(a.GetMessage(), min(maxText, left)), Line: a.GetLine(), Column: a.GetColumn(), Step: a.GetStep()}
		left = max(0, left-len(c.GetTitle())-len(c.GetFile())-len(c.GetMessage()))
		out.Annotations = append(out.Annotations, c)
	}
	for _, l := range r.GetLogs()[:min(len(r.GetLogs()), maxSteps)] {
		out.Logs = append(out.Logs, &corev1.LogSum{Step: l.GetStep(), Length: l.GetLength(), Sha256: clip(l.GetSha256(), maxWord)})
	}
	return out
}

// boundTests returns what a run's header keeps of an artifact's tests.
func boundTests(t *corev1.TestSummary) *corev1.TestSummary {
	if t == nil {
		return nil
	}
	out := &corev1.TestSummary{Tests: t.GetTests(), Failures: t.GetFailures(), Errors: t.GetErrors(), Skipped: t.GetSkipped(), DurationMs: t.GetDurationMs()}
	for _, c := range t.GetFailed()[:min(len(t.GetFailed()), maxTestCases)] {
		out.Failed = append(out.Failed, &corev1.TestCase{Suite: clip(c.GetSuite(), maxTestText), Name: clip(c.GetName(), maxTestText), Message: clip(c.GetMessage(), maxTestText)})
	}
	return out
}

// boundArtifact makes an artifact fit into the run's header: failed test cases are left out when half of it is full, artifacts refused when all is.
func boundArtifact(h *statev1.RunHeader, a *corev1.Artifact) (*corev1.Artifact, error) {
	a = proto.CloneOf(a)
	a.Tests = boundTests(a.GetTests())
	size := proto.Size(a)
	for _, old := range h.GetArtifacts() {
		size += proto.Size(old)
	}
	if size > maxArtifacts/2 && len(a.GetTests().GetFailed()) > 0 {
		size -= proto.Size(a)
		a.Tests.Failed = nil
		size += proto.Size(a)
	}
	if size > maxArtifacts {
		return nil, rpcerr.New(rpcerr.InvalidRequest, "the run has %d artifacts, and their records would have %d bytes, more than %d: put more files into fewer artifacts",
			len(h.GetArtifacts()), size, maxArtifacts)
	}
	return a, nil
}

// outputsSize is the size of a job's outputs, as maxOutputs counts.
func outputsSize(outputs []*corev1.Output) int {
	size := 0
	for _, o := range outputs {
		size += len(o.GetName()) + len(o.GetValue())
	}
	return size
}

// boundPlan refuses what no run can be made of.
func boundPlan(p *planv1.Plan) error {
	jobs := 0
	for _, job := range p.GetJobs() {
		jobs += max(1, len(job.GetStrategy().GetLegs()))
		for _, leg := range job.GetStrategy().GetLegs() {
			if err := boundMatrix(leg); err != nil {
				return err
			}
		}
	}
	return boundJobs(jobs)
}

func boundJobs(n int) error {
	if n > maxJobs {
		return fmt.Errorf("the run has %d jobs, each leg of a matrix counted, more than %d: split the workflow", n, maxJobs)
	}
	return nil
}

// boundMatrix refuses a leg whose values are too large for its record.
func boundMatrix(json string) error {
	if len(json) > maxMatrix {
		return fmt.Errorf("strategy.matrix: a leg's values have %d bytes, more than %d: let the matrix hold names, and the jobs fetch what they name", len(json), maxMatrix)
	}
	return nil
}
