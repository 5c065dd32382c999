package faults

import (
	"context"
	"crypto/sha256"
	"strings"
	"testing"

	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	"github.com/slipway-ci/slipway/sdk/client"
)

// check holds a run against what must come of its job. It returns 1 for a job that died with its shim, which must say so, and have a
// log that breaks off at some byte; shims is how many were killed.
func check(ctx context.Context, t *testing.T, cl *client.Client, want shape, run *apiv1.Run, shims int) (lost int) {
	t.Helper()
	if len(run.GetJobs()) != 1 {
		t.Errorf("%s: %d jobs", want.name, len(run.GetJobs()))
		return 0
	}
	job := run.GetJobs()[0]
	log, err := logOf(ctx, cl, run)
	if err != nil {
		t.Errorf("%s, run %s: %v", want.name, run.GetId(), err)
		return 0
	}
	if f := job.GetFailure(); shims > 0 && job.GetState() == corev1.JobState_JOB_STATE_FAILED && f.GetCode() == "lost" {
		if f.GetFault() != corev1.Fault_FAULT_SYSTEM || !strings.HasPrefix(want.log, log) {
			t.Errorf("%s, run %s, lost: %v, log of %d bytes is a prefix: %v", want.name, run.GetId(), f, len(log), strings.HasPrefix(want.log, log))
		}
		return 1
	}
	// A job whose pod was lost before any step had begun is tried again.
	if most := 1 + shims; int(job.GetAttempt()) > most {
		t.Errorf("%s, run %s: %d attempts, want at most %d", want.name, run.GetId(), job.GetAttempt(), most)
	}
	if job.GetState() != want.state || job.GetFailure().GetCode() != want.failure {
		t.Errorf("%s, run %s: %s, %v; want %s, %q", want.name, run.GetId(), job.GetState(), job.GetFailure(), want.state, want.failure)
	}
	if sha256.Sum256([]byte(log)) != sha256.Sum256([]byte(want.log)) {
		t.Errorf("%s, run %s: the log differs from byte %d on: %d bytes, want %d: %q", want.name, run.GetId(), common(log, want.log), len(log), len(want.log), around(log, common(log, want.log)))
	}
	if n := len(run.GetArtifacts()); n != want.artifacts {
		t.Errorf("%s, run %s: %d artifacts, want %d", want.name, run.GetId(), n, want.artifacts)
	}
	return 0
}

// logOf is what a job's `run` steps printed.
func logOf(ctx context.Context, cl *client.Client, run *apiv1.Run) (string, error) {
	skip := map[uint32]bool{}
	for _, s := range run.GetJobs()[0].GetSteps() {
		skip[s.GetNumber()] = s.GetName() == "Set up job" || s.GetName() == "Complete job" || strings.Contains(s.GetName(), "actions/")
	}
	var b strings.Builder
	err := cl.Logs(ctx, &apiv1.StreamLogsRequest{RunId: run.GetId(), JobId: run.GetJobs()[0].GetId(), Follow: true}, func(l *apiv1.StreamLogsResponse) error {
		if !skip[l.GetStep()] {
			b.Write(l.GetData())
		}
		return nil
	})
	return b.String(), err
}

// common is the length of the common prefix.
func common(a, b string) int {
	n := 0
	for n < len(a) && n < len(b) && a[n] == b[n] {
		n++
	}
	return n
}

func around(s string, at int) string { return s[max(0, at-80):min(len(s), at+80)] }
