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

// runNoop is one job of one no-op step, submit → finished, with default egress, against `ctr run --rm` of the same image: in a
// pod that is made for it (run.noop), and in one that was made ahead (run.noop_warm), each by an agent of its own. Nothing of
// the run before is left to be cleaned up, and no pod is being made, while a round is measured.
func runNoop(ctx context.Context, s *stack) ([]measure.Result, error) {
	warm, err := s.warmStack(ctx)
	if err != nil {
		return nil, err
	}
	settled := func(f func() (time.Duration, error)) func() (time.Duration, error) {
		return func() (time.Duration, error) {
			if err := settle(ctx, s.cluster, warm.cluster); err != nil {
				return 0, err
			}
			return f()
		}
	}
	taken, err := warm.taken(ctx)
	if err != nil {
		return nil, err
	}
	rounds, before := s.rounds(40), 3
	samples, err := measure.Interleave(before, rounds,
		settled(func() (time.Duration, error) { return s.timeRun(ctx, noop) }),
		settled(func() (time.Duration, error) { return warm.timeRun(ctx, noop) }),
		settled(func() (time.Duration, error) { return s.ctrRun(ctx, nil, "/bin/true") }))
	if err != nil {
		return nil, err
	}
	if err := warm.mustHaveTaken(ctx, taken+float64(rounds)); err != nil {
		return nil, err
	}
	return []measure.Result{
		measure.Compare("run.noop", "ms", measure.Lower, samples[0], samples[2], "ctr run --rm"),
		measure.Compare("run.noop_warm", "ms", measure.Lower, samples[1], samples[2], "ctr run --rm"),
	}, nil
}
