package scenarios

import (
	"strings"
	"testing"

	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

const chainOfJobs = `on: push
jobs:
  build:
    runs-on: busybox
    outputs: {word: '${{ steps.s.outputs.word }}'}
    steps: [{id: s, run: echo word=built >> "$GITHUB_OUTPUT", shell: sh}]
  test:
    runs-on: busybox
    needs: build
    steps: [{run: 'echo tested ${{ needs.build.outputs.word }}', shell: sh}]
  deploy:
    runs-on: busybox
    needs: test
    steps: [{run: exit 1, shell: sh}]
`

// TestRunOneJob: --job runs a job and what it needs, and nothing else.
func TestRunOneJob(t *testing.T) {
	t.Parallel()
	p := workflow(t, chainOfJobs)
	res := p.slipway("run", "--project", "one-job", "--job", "test", "ci.yml")
	if res.Code != succeeded || !strings.Contains(res.Stdout, "tested built") {
		t.Fatalf("exit code %d:\n%s%s", res.Code, res.Stdout, res.Stderr)
	}
	runs := decodeRuns(t, p.must("runs", "ls", "--project", "one-job", "-o", "json"))
	if len(runs) != 1 {
		t.Fatalf("%d runs", len(runs))
	}
	run := p.show(runs[0].GetId())
	if len(run.GetJobs()) != 2 || run.GetState() != corev1.RunState_RUN_STATE_SUCCEEDED {
		t.Errorf("the run has %d jobs: %v", len(run.GetJobs()), run.GetJobs())
	}
	refused(t, p, []string{"did you mean `test`"}, "run", "--job", "tets", "ci.yml")
}

// TestPlanAndDryRunResolve: both show images by digest, and start nothing.
func TestPlanAndDryRunResolve(t *testing.T) {
	t.Parallel()
	p := workflow(t, chainOfJobs)
	for _, args := range [][]string{{"plan", "ci.yml"}, {"run", "--project", "dry", "--dry-run", "ci.yml"}, {"plan", "-o", "json", "ci.yml"}} {
		if out := p.must(args...); !strings.Contains(out, "busybox@sha256:") || !strings.Contains(out, "deploy") {
			t.Errorf("%v:\n%s", args, out)
		}
	}
	if runs := decodeRuns(t, p.must("runs", "ls", "--project", "dry", "-o", "json")); len(runs) != 0 {
		t.Errorf("%d runs were started", len(runs))
	}
}
