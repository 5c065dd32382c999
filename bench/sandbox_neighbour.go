package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/bench/measure"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
)

// attacks are what a hostile step does to the host for as long as it is let, after it has said "started".
var attacks = []struct{ name, script string }{
	{"cpu", "for i in $(seq 32); do (while :; do :; done) & done; echo started; wait"},
	{"fork_bomb", "echo started; bomb() { bomb | bomb & }; bomb; while :; do sleep 1 || true; done"},
	{"memory", "echo started; while :; do tail /dev/zero || true; done"},
	{"disk", "echo started; while :; do dd if=/dev/zero of=f bs=1M count=512 2>/dev/null; rm f; done"},
	{"files", "echo started; long=$(printf %200s | tr ' ' x); while :; do mkdir d; i=0; while [ $i -lt 500 ]; do echo $i >d/$long$i; i=$((i+1)); done; sync; rm -r d; done"},
	{"log", "echo started; yes a line that is as long as those of usual builds are"},
}

const hostile = `
on: push
jobs:
  hostile:
    runs-on: bench
    resources: {memory: 1Gi}
    steps:
      - run: |
          %s
        shell: sh {0}
`

// neighbour computes, starts processes, and writes with fsync.
const neighbour = `
on: push
jobs:
  neighbour:
    runs-on: bench
    steps:
      - run: |
          i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done
          for i in $(seq 50); do /bin/true; done
          dd if=/dev/zero of=f bs=64k count=64 conv=fsync 2>/dev/null && cat f >/dev/null
        shell: sh -e {0}
`

// sandboxNeighbour is how long a job takes beside a hostile one on the same host, against the same job alone.
func sandboxNeighbour(ctx context.Context, s *stack) ([]measure.Result, error) {
	var results []measure.Result
	if _, err := s.timeRun(ctx, neighbour); err != nil {
		return nil, err
	}
	for _, a := range attacks {
		samples, err := measure.Interleave(0, s.rounds(5),
			func() (time.Duration, error) { return s.beside(ctx, fmt.Sprintf(hostile, a.script)) },
			func() (time.Duration, error) { return s.timeRun(ctx, neighbour) })
		if err != nil {
			return nil, fmt.Errorf("%s: %w", a.name, err)
		}
		results = append(results, measure.Compare("sandbox.neighbour."+a.name, "ms", measure.Lower, samples[0], samples[1], "the same job alone"))
	}
	return results, nil
}

// beside times the neighbour while a hostile run is at work, and ends that.
func (s *stack) beside(ctx context.Context, workflow string) (took time.Duration, err error) {
	id, err := s.submit(ctx, workflow)
	if err != nil {
		return 0, err
	}
	defer func() {
		cancelErr := s.client.Cancel(ctx, id, "measured")
		if cancelErr == nil {
			cancelErr = s.client.Watch(ctx, id, func(*apiv1.Run) error { return nil })
		}
		err = errors.Join(err, cancelErr)
	}()
	err = s.client.Logs(ctx, &apiv1.StreamLogsRequest{RunId: id, Follow: true}, func(r *apiv1.StreamLogsResponse) error {
		if r.GetStep() > 0 && strings.Contains(string(r.GetData()), "started") {
			return errSeen
		}
		return nil
	})
	if !errors.Is(err, errSeen) {
		return 0, errors.Join(errors.New("the hostile run never started"), err)
	}
	return s.timeRun(ctx, neighbour)
}
