package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/slipway-ci/slipway/bench/measure"

	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
)

const logBytes = 100 << 20

// A line of 100 bytes, as many as make 100 MiB.
const logScript = "yes 123456789-123456789-123456789-123456789-123456789-123456789-123456789-123456789-123456789-12345678 | head -c 104857600"

const log100 = `
on: push
jobs:
  log:
    runs-on: bench
    steps:
      - run: ` + logScript + `
        shell: sh -e {0}
`

// log100MB is MB/s from submit until the client holds all 100 MiB of a step's log, against `ctr run --rm` of the same command into a pipe.
func log100MB(ctx context.Context, s *stack) ([]measure.Result, error) {
	var ours, raw measure.Samples
	for range s.rounds(3) {
		d, err := s.timeWholeLog(ctx)
		if err != nil {
			return nil, err
		}
		ours = append(ours, logBytes/1e6/d.Seconds())
		d, err = s.ctrRun(ctx, counter{io.Discard}, "/bin/sh", "-c", logScript)
		if err != nil {
			return nil, err
		}
		raw = append(raw, logBytes/1e6/d.Seconds())
	}
	return []measure.Result{measure.Compare("log.100mb", "MB/s", measure.Higher, ours, raw, "ctr run --rm into a pipe")}, nil
}

// counter hides io.Discard's ReadFrom, so that exec copies through a pipe as for any other reader.
type counter struct{ io.Writer }

func (s *stack) timeWholeLog(ctx context.Context) (time.Duration, error) {
	start := time.Now()
	id, err := s.submit(ctx, log100)
	if err != nil {
		return 0, err
	}
	var got int
	err = s.client.Logs(ctx, &apiv1.StreamLogsRequest{RunId: id, Follow: true}, func(r *apiv1.StreamLogsResponse) error {
		if r.GetStep() == 1 {
			got += len(r.GetData())
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	took := time.Since(start)
	if got != logBytes {
		return 0, fmt.Errorf("run %s: %d of %d bytes arrived", id, got, logBytes)
	}
	_, err = s.finish(ctx, id)
	return took, err
}
