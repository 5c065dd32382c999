package faults

import (
	"context"
	"crypto/sha256"
	"slices"
	"strings"
	"testing"

	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	"github.com/slipway-ci/slipway/sdk/client"
)

// check holds a run against what must come of its job. It returns 1 for a job that died with its shim, which must say so, and have a
// log that breaks off at some byte.
func check(ctx context.Context, t *testing.T, cl *client.Client, want shape, run *apiv1.Run, killed map[target]int) (lost int) {
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
	if killed[shim] > 0 && job.GetState() == corev1.JobState_JOB_STATE_FAILED && isLost(job) {
		if !strings.HasPrefix(want.log, log) {
			t.Errorf("%s, run %s, lost: the log differs from byte %d on: %q", want.name, run.GetId(), common(log, want.log), around(log, common(log, want.log)))
		}
		return 1
	}
	// An attempt that was lost before any step had begun, and one whose agent died before it had written down that it took it, is followed by another.
	if most := 1 + killed[agent] + killed[shim]; int(job.GetAttempt()) > most {
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

// isLost says whether the job ended, or one of its steps did, because its pod was gone.
func isLost(job *apiv1.Job) bool {
	lost := func(f *corev1.Failure) bool {
		return f.GetCode() == "lost" && f.GetFault() == corev1.Fault_FAULT_SYSTEM
	}
	return lost(job.GetFailure()) || slices.ContainsFunc(job.GetSteps(), func(s *corev1.StepStatus) bool { return lost(s.GetFailure()) })
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
