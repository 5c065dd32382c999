package scenarios

import (
	"strings"
	"syscall"
	"testing"
	"time"

	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// sleeper has a step that waits for ever, one that cleans up, and a job that never begins.
const sleeper = `
on: push
defaults: {run: {shell: sh}}
jobs:
  a:
    runs-on: busybox
    steps:
      - run: |
          trap 'echo terminated; exit 1' TERM
          echo waiting; sleep 100 & wait
      - run: echo never
      - {run: echo cleaned up, if: always()}
      - {run: 'echo "status ${{ job.status }}"', if: cancelled()}
      - {run: echo never either, if: failure()}
  b: {needs: a, runs-on: busybox, steps: [{run: echo never}]}
  c: {needs: a, if: always(), runs-on: busybox, steps: [{run: 'echo "a is ${{ needs.a.result }}"'}]}
`

const sleeperLog = "waiting\nterminated\ncleaned up\nstatus cancelled\n"

// TestInterruptOnce cancels the run, waits for its clean-up, and ends with exit code 4.
func TestInterruptOnce(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			p := workflow(t, sleeper)
			l := p.start("run", "ci.yml")
			l.await("a | waiting")
			l.signal(sig)
			id := l.runID()
			res := l.wait()
			if res.Code != cancelled {
				t.Errorf("exit code %d, want %d:\n%s%s", res.Code, cancelled, res.Stdout, res.Stderr)
			}
			for _, want := range []string{"cancelling the run", "a | cleaned up", "cancelled"} {
				if !strings.Contains(res.Stdout, want) {
					t.Errorf("the CLI does not say %q:\n%s", want, res.Stdout)
				}
			}
			o := outcome{p, p.show(id)}
			o.wantStates("a CANCELLED, b CANCELLED, c SUCCEEDED")
			o.wantLog("a", sleeperLog)
			o.wantLog("c", "a is cancelled\n")
		})
	}
}

// TestInterruptTwice leaves at once; the run cleans up by itself.
func TestInterruptTwice(t *testing.T) {
	t.Parallel()
	p := workflow(t, oneJob(`
defaults: {run: {shell: sh}}
steps:
  - run: echo waiting; sleep 100
  - {run: echo cleaning; sleep 3; echo cleaned up, if: always()}
`))
	l := p.start("run", "ci.yml")
	l.await("a | waiting")
	id := l.runID()
	l.signal(syscall.SIGINT)
	l.await("a | cleaning")
	began := time.Now()
	l.signal(syscall.SIGINT)
	res := l.wait()
	if took := time.Since(began); res.Code != cancelled || took > 2500*time.Millisecond {
		t.Errorf("exit code %d after %s:\n%s%s", res.Code, took, res.Stdout, res.Stderr)
	}
	run := p.until(id, "ends", ended)
	if run.GetState() != corev1.RunState_RUN_STATE_CANCELLED || p.logOf(id, "a") != "waiting\ncleaning\ncleaned up\n" {
		t.Errorf("run %s, log %q", run.GetState(), p.logOf(id, "a"))
	}
}

// TestCancelCommand ends a run that somebody else follows; its reason is shown.
func TestCancelCommand(t *testing.T) {
	t.Parallel()
	p := workflow(t, sleeper)
	id := strings.TrimSpace(p.must("run", "-d", "ci.yml"))
	l := p.start("logs", "-f", id)
	l.await("a | waiting")
	p.must("runs", "cancel", id, "--reason", "lunch time")
	if res := l.wait(); res.Code != succeeded || !strings.Contains(res.Stdout, "a | cleaned up\n") || !strings.Contains(res.Stdout, "c | a is cancelled\n") {
		t.Errorf("logs -f: exit code %d:\n%s%s", res.Code, res.Stdout, res.Stderr)
	}
	run := p.until(id, "ends", ended)
	if run.GetState() != corev1.RunState_RUN_STATE_CANCELLED {
		t.Errorf("run %s", run.GetState())
	}
	if text := p.must("runs", "show", id); !strings.Contains(text, "lunch time") {
		t.Errorf("runs show does not give the reason:\n%s", text)
	}
	// Once more changes nothing.
	p.must("runs", "cancel", id)
	if again := p.show(id); again.GetEndedMs() != run.GetEndedMs() {
		t.Errorf("cancelling an ended run changed it: %v", again)
	}
}

// TestCancelBeforeItStarts: a job that waits for an agent is cancelled at once; one that is prepared, too.
func TestCancelBeforeItStarts(t *testing.T) {
	t.Parallel()
	p := workflow(t, strings.Replace(oneJob(oneLine+"\n"), "busybox", "elsewhere", 1))
	id := strings.TrimSpace(p.must("run", "-d", "ci.yml"))
	p.until(id, "waits", func(r *apiv1.Run) bool { return r.GetJobs()[0].GetReason() != "" })
	p.must("runs", "cancel", id)
	run := p.until(id, "ends", ended)
	if run.GetState() != corev1.RunState_RUN_STATE_CANCELLED || run.GetJobs()[0].GetAttempt() != 0 {
		t.Errorf("run %v", run)
	}
}

// TestStubbornStep ignores TERM: it is killed after the grace, with all its children.
func TestStubbornStep(t *testing.T) {
	t.Parallel()
	p := workflow(t, oneJob(`
defaults: {run: {shell: sh}}
steps:
  - run: |
      trap '' TERM INT
      (trap '' TERM INT; while true; do sleep 1000; done) &
      echo stubborn
      while true; do sleep 1000; done
  - {run: 'ps | grep -c "[s]leep 1000"', if: always()}
`))
	l := p.start("run", "ci.yml")
	l.await("a | stubborn")
	l.signal(syscall.SIGINT)
	id := l.runID()
	if res := l.wait(); res.Code != cancelled {
		t.Errorf("exit code %d:\n%s%s", res.Code, res.Stdout, res.Stderr)
	}
	if got := p.logOf(id, "a"); got != "stubborn\n0\n" {
		t.Errorf("log %q", got)
	}
}
