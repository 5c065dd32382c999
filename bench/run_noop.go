package main

import (
	"context"
	"time"

	"github.com/slipway-ci/slipway/bench/measure"
)

const noop = `
on: push
jobs:
  noop:
    runs-on: bench
    steps:
      - run: /bin/true
        shell: sh -e {0}
`

// runNoop is one job of one no-op step, submit → finished, with default egress, against `ctr run --rm` of the same image.
func runNoop(ctx context.Context, s *stack) ([]measure.Result, error) {
	samples, err := measure.Interleave(3, s.rounds(40),
		func() (time.Duration, error) { return s.timeRun(ctx, noop) },
		func() (time.Duration, error) { return s.ctrRun(ctx, nil, "/bin/true") })
	if err != nil {
		return nil, err
	}
	return []measure.Result{measure.Compare("run.noop", "ms", measure.Lower, samples[0], samples[1], "ctr run --rm")}, nil
}
