package main

import (
	"context"
	"time"

	"github.com/slipway-ci/slipway/bench/measure"
)

const firstLog = `
on: push
jobs:
  hello:
    runs-on: bench
    steps:
      - run: echo hello
        shell: sh -e {0}
`

// runFirstLog is submit → the first byte of the step's output at the client, against the first byte out of `ctr run --rm`.
func runFirstLog(ctx context.Context, s *stack) ([]measure.Result, error) {
	raw := func() (time.Duration, error) {
		w := &firstByte{}
		start := time.Now()
		if _, err := s.ctrRun(ctx, w, "/bin/echo", "hello"); err != nil {
			return 0, err
		}
		return w.at.Sub(start), nil
	}
	samples, err := measure.Interleave(2, s.rounds(20),
		func() (time.Duration, error) { return s.timeFirstLog(ctx, firstLog) }, raw)
	if err != nil {
		return nil, err
	}
	return []measure.Result{measure.Compare("run.first_log", "ms", measure.Lower, samples[0], samples[1], "ctr run --rm")}, nil
}
