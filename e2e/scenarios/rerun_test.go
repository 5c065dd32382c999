package scenarios

import (
	"fmt"
	"strings"
	"testing"

	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// TestRerunOfWhatFailed: the failed job and those that need it run again; results, outputs, artifacts and logs of the other stay, and so does the
// attempt before.
func TestRerunOfWhatFailed(t *testing.T) {
	t.Parallel()
	o := workflow(t, `
on: push
defaults: {run: {shell: sh}}
jobs:
  build:
    runs-on: busybox
    outputs: {v: "${{ steps.v.outputs.v }}"}
    steps:
      - {id: v, run: 'echo "v=built in $GITHUB_RUN_ATTEMPT" >> "$GITHUB_OUTPUT"; echo building; mkdir out; echo data > out/file'}
      - uses: actions/upload-artifact@v4
        with: {name: app, path: out}
  test:
    runs-on: busybox
    needs: build
    steps:
      - uses: actions/download-artifact@v4
        with: {name: app, path: got}
      - run: echo "attempt $GITHUB_RUN_ATTEMPT has $(cat got/file), ${{ needs.build.outputs.v }}"; test "$GITHUB_RUN_ATTEMPT" != 1
  deploy:
    runs-on: busybox
    needs: test
    steps:
      - run: echo deployed
`).run(failed)
	o.wantStates("build SUCCEEDED, test FAILED, deploy SKIPPED")
	first := o.run.GetId()
	res := o.slipway("runs", "rerun", first, "--failed")
	if res.Code != succeeded {
		t.Fatalf("exit code %d\n%s%s", res.Code, res.Stdout, res.Stderr)
	}
	if !strings.Contains(res.Stdout, "build > succeeded, kept from attempt 1 of the run\n") || strings.Contains(res.Stdout, "building") {
		t.Errorf("the rerun shows the kept job as\n%s", res.Stdout)
	}
	o.run = o.show(first + ".2")
	o.wantStates("build SUCCEEDED, test SUCCEEDED, deploy SUCCEEDED")
	o.wantLog("test", "app: 1 file into /github/workspace/got.\nDownloaded 1 artifact.\nattempt 2 has data, built in 1\n")
	if o.run.GetAttempt() != 2 || o.run.GetNumber() == 0 || o.run.GetEarlier()[0] != first || !o.run.GetFlaky() || !o.job("test").GetFlaky() || o.job("build").GetFlaky() {
		t.Errorf("the second attempt is %v", o.run)
	}
	if b := o.job("build"); b.GetKeptFrom() != first || b.GetKeptAttempt() != 1 || b.GetOutputs()["v"] != "built in 1" {
		t.Errorf("the job that was kept is %v", b)
	}
	if tries := o.job("test").GetTries(); len(tries) != 1 || tries[0].GetResult() != corev1.Result_RESULT_FAILURE {
		t.Errorf("tries %v", tries)
	}
	number := fmt.Sprintf("#%d", o.run.GetNumber())
	if ls := o.must("runs", "ls", "-n", "1000"); !strings.Contains(ls, number+".1 ") || !strings.Contains(ls, number+".2 ") {
		t.Errorf("runs ls names the attempts otherwise:\n%s", ls)
	}
	if o.show(first+".1").GetId() != first {
		t.Error("the first attempt is another one")
	}
	// The log of a job that was kept is that of the attempt that ran it.
	if log := o.must("logs", o.run.GetId(), "build"); !strings.Contains(log, "building") {
		t.Errorf("the log of the kept job is %q", log)
	}
	if text := o.must("runs", "show", first+".2"); !strings.Contains(text, "kept from attempt 1 of the run") || !strings.Contains(text, "passed on retry") {
		t.Errorf("runs show says\n%s", text)
	}
	if text := o.must("runs", "show", first, "--attempt", "1"); !strings.Contains(text, "exit") && !strings.Contains(text, "failed") {
		t.Errorf("the first attempt is now\n%s", text)
	}
	if res := o.slipway("runs", "rerun", first); res.Code == succeeded || !strings.Contains(res.Stderr, "not its newest") {
		t.Errorf("the attempt before was run again: %d %s", res.Code, res.Stderr)
	}
}
