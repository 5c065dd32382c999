package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/slipway-ci/slipway/bench/measure"
)

const (
	fanout      = 100
	parallelism = 8
)

// runFanout100 is jobs a second over 100 independent one-step jobs, against `ctr run --rm` eight at a time.
func runFanout100(ctx context.Context, s *stack) ([]measure.Result, error) {
	axis := make([]string, fanout)
	for i := range axis {
		axis[i] = fmt.Sprint(i)
	}
	workflow := "on: push\njobs:\n  fan:\n    runs-on: bench\n    strategy:\n      matrix:\n        n: [" + strings.Join(axis, ", ") +
		"]\n    steps:\n      - run: /bin/true\n        shell: sh -e {0}\n"
	var ours, raw measure.Samples
	for range s.rounds(3) {
		d, err := s.timeRun(ctx, workflow)
		if err != nil {
			return nil, err
		}
		ours = append(ours, fanout/d.Seconds())
		d, err = s.ctrParallel(ctx, fanout, parallelism)
		if err != nil {
			return nil, err
		}
		raw = append(raw, fanout/d.Seconds())
	}
	return []measure.Result{measure.Compare("run.fanout100", "jobs/s", measure.Higher, ours, raw, "ctr run --rm, 8 at a time")}, nil
}

// ctrParallel runs n containers, at most p at a time, and returns the time for all.
func (s *stack) ctrParallel(ctx context.Context, n, p int) (time.Duration, error) {
	work := make(chan struct{}, n)
	for range n {
		work <- struct{}{}
	}
	close(work)
	errs := make(chan error, p)
	start := time.Now()
	var wg sync.WaitGroup
	for range p {
		wg.Go(func() {
			for range work {
				if _, err := s.ctrRun(ctx, nil, "/bin/true"); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(start)
	select {
	case err := <-errs:
		return 0, err
	default:
		return took, nil
	}
}
