package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/bench/measure"
)

const chainLength = 20

// runChain20Steps is the time a step takes in a chain of 20 in one job, against fork/exec on the host. The time between
// the first step's start and the last one's end is shared out, so that making the pod does not count.
func runChain20Steps(ctx context.Context, s *stack) ([]measure.Result, error) {
	workflow := "on: push\njobs:\n  chain:\n    runs-on: bench\n    steps:\n" +
		strings.Repeat("      - run: /bin/true\n        shell: sh -e {0}\n", chainLength)
	perStep := func() (time.Duration, error) {
		id, err := s.submit(ctx, workflow)
		if err != nil {
			return 0, err
		}
		run, err := s.finish(ctx, id)
		if err != nil {
			return 0, err
		}
		var first, last int64 = -1, -1
		for _, step := range run.GetJobs()[0].GetSteps() {
			if n := step.GetNumber(); n >= 1 && n <= chainLength {
				if first < 0 {
					first = step.GetStartedMs()
				}
				last = step.GetEndedMs()
			}
		}
		if first < 0 || last < first {
			return 0, fmt.Errorf("run %s has no times for its steps", id)
		}
		return time.Duration(last-first) * time.Millisecond / chainLength, nil
	}
	samples, err := measure.Interleave(2, s.rounds(15), perStep, func() (time.Duration, error) { return forkExec(ctx) })
	if err != nil {
		return nil, err
	}
	return []measure.Result{measure.Compare("run.chain20_steps", "ms", measure.Lower, samples[0], samples[1], "fork/exec of /bin/true")}, nil
}

// runChain20Jobs is the time a job takes in a chain of 20 jobs, submit → finished shared out, against `ctr run --rm`.
func runChain20Jobs(ctx context.Context, s *stack) ([]measure.Result, error) {
	var b strings.Builder
	b.WriteString("on: push\njobs:\n")
	for i := range chainLength {
		fmt.Fprintf(&b, "  j%d:\n    runs-on: bench\n", i)
		if i > 0 {
			fmt.Fprintf(&b, "    needs: j%d\n", i-1)
		}
		b.WriteString("    steps:\n      - run: /bin/true\n        shell: sh -e {0}\n")
	}
	workflow := b.String()
	perJob := func() (time.Duration, error) {
		d, err := s.timeRun(ctx, workflow)
		return d / chainLength, err
	}
	samples, err := measure.Interleave(1, s.rounds(5), perJob, func() (time.Duration, error) { return s.ctrRun(ctx, nil, "/bin/true") })
	if err != nil {
		return nil, err
	}
	return []measure.Result{measure.Compare("run.chain20_jobs", "ms", measure.Lower, samples[0], samples[1], "ctr run --rm")}, nil
}
