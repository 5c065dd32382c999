package faults

import (
	"fmt"
	"strings"

	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// shape is a kind of job, with all that must come of it.
type shape struct {
	name string
	// steps under `jobs: a:`, after runs-on.
	job string
	// log is what its steps print.
	log   string
	state corev1.JobState
	// failure is its code, "" for a success.
	failure   string
	artifacts int
}

var shapes = []shape{slow(), short(), loud(), failing(), late(), uploading(), served()}

const ok = corev1.JobState_JOB_STATE_SUCCEEDED

// slow prints numbered lines over some seconds, and counts how often each step ran.
func slow() shape {
	const n = 1500
	var log strings.Builder
	for i := 1; i <= n; i++ {
		fmt.Fprintf(&log, "line %d of the slow step\n", i)
	}
	log.WriteString("slow ran 1 times\n")
	return shape{name: "slow", state: ok, log: log.String(), job: `
steps:
  - run: |
      echo ran >> slow
      i=1
      while [ $i -le ` + fmt.Sprint(n) + ` ]; do
        echo "line $i of the slow step"
        [ $((i % 10)) != 0 ] || sleep 0.02
        i=$((i + 1))
      done
  - run: echo "slow ran $(wc -l < slow) times"
`}
}

// short has many steps, each of a moment.
func short() shape {
	const n = 40
	var steps, log strings.Builder
	for i := range n {
		fmt.Fprintf(&steps, "  - run: echo step %d; echo ran >> ran\n", i)
		fmt.Fprintf(&log, "step %d\n", i)
	}
	fmt.Fprintf(&log, "%d ran\n", n)
	return shape{name: "short", state: ok, log: log.String(), job: "steps:\n" + steps.String() + "  - run: echo $(wc -l < ran) ran\n"}
}

// loud prints megabytes at once.
func loud() shape {
	const n = 60_000
	var log strings.Builder
	for i := 1; i <= n; i++ {
		fmt.Fprintf(&log, "%d abcdefghijklmnopqrstuvwxyz abcdefghijklmnopqrstuvwxyz\n", i)
	}
	return shape{name: "loud", state: ok, log: log.String(), job: `
steps:
  - run: seq 1 ` + fmt.Sprint(n) + ` | sed 's/$/ abcdefghijklmnopqrstuvwxyz abcdefghijklmnopqrstuvwxyz/'
`}
}

// failing fails, and cleans up after itself.
func failing() shape {
	return shape{name: "failing", state: corev1.JobState_JOB_STATE_FAILED, failure: "step-failed", log: "before\nafter\n", job: `
steps:
  - run: echo before; sleep 1; exit 7
  - run: echo never
  - if: always()
    run: echo after
`}
}

// late runs out of time.
func late() shape {
	return shape{name: "late", state: corev1.JobState_JOB_STATE_FAILED, failure: "timed-out", log: "begun\n", job: `
steps:
  - run: echo begun; exec sleep 1000
    timeout-minutes: 0.04
`}
}

// uploading makes an artifact.
func uploading() shape {
	return shape{name: "uploading", state: ok, artifacts: 1, log: "made\n", job: `
steps:
  - run: mkdir out; head -c 9000000 /dev/urandom > out/file; echo made
  - uses: actions/upload-artifact@v4
    with: {name: made, path: out/}
`}
}

// served needs a service that takes a while to be healthy.
func served() shape {
	return shape{name: "served", state: ok, log: "served\n", job: `
services:
  db:
    image: postgres:15-alpine
    env: {POSTGRES_PASSWORD: secret}
    options: --health-cmd pg_isready --health-interval 100ms --health-retries 300
steps:
  - run: grep -q :1538 /proc/net/tcp /proc/net/tcp6 && echo served
`}
}

// workflow is the file of a run with one such job.
func (s shape) workflow() []byte {
	var b strings.Builder
	b.WriteString("on: push\njobs:\n  a:\n    runs-on: busybox\n    defaults: {run: {shell: sh}}\n")
	for line := range strings.Lines(strings.Trim(s.job, "\n") + "\n") {
		b.WriteString("    " + line)
	}
	return []byte(b.String())
}
