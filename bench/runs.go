package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// submit starts a workflow that has no source tree.
func (s *stack) submit(ctx context.Context, workflow string) (string, error) {
	res, err := s.client.Submit(ctx, &apiv1.SubmitRunRequest{
		Path: ".slipway/bench.yml", Workflow: []byte(workflow), Event: "push",
		Source: &corev1.Source{Repository: "bench/bench", Ref: "refs/heads/main", Sha: strings.Repeat("0", 40)},
	})
	if err != nil {
		return "", err
	}
	return res.GetRunId(), nil
}

// finish waits for the run's end and insists on success.
func (s *stack) finish(ctx context.Context, id string) (*apiv1.Run, error) {
	var last *apiv1.Run
	if err := s.client.Watch(ctx, id, func(r *apiv1.Run) error { last = r; return nil }); err != nil {
		return nil, err
	}
	if last.GetState() != corev1.RunState_RUN_STATE_SUCCEEDED {
		return nil, fmt.Errorf("run %s ended as %s", id, last.GetState())
	}
	return last, nil
}

// timeRun is submit → finished, as a client sees it.
func (s *stack) timeRun(ctx context.Context, workflow string) (time.Duration, error) {
	start := time.Now()
	id, err := s.submit(ctx, workflow)
	if err != nil {
		return 0, err
	}
	if _, err := s.finish(ctx, id); err != nil {
		return 0, err
	}
	return time.Since(start), nil
}

var errSeen = errors.New("seen")

// timeFirstLog is submit → first byte of a step's output at the client; the run is awaited afterwards.
func (s *stack) timeFirstLog(ctx context.Context, workflow string) (time.Duration, error) {
	start := time.Now()
	id, err := s.submit(ctx, workflow)
	if err != nil {
		return 0, err
	}
	var took time.Duration
	err = s.client.Logs(ctx, &apiv1.StreamLogsRequest{RunId: id, Follow: true}, func(r *apiv1.StreamLogsResponse) error {
		if r.GetStep() > 0 && len(r.GetData()) > 0 {
			took = time.Since(start)
			return errSeen
		}
		return nil
	})
	if err != nil && !errors.Is(err, errSeen) {
		return 0, err
	}
	if took == 0 {
		return 0, errors.New("the run ended without any output")
	}
	_, err = s.finish(ctx, id)
	return took, err
}
