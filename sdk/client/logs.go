package client

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
)

// errStreamEnded stands for a stream that the server ended before its time.
var errStreamEnded = status.Error(codes.Unavailable, "the stream ended early")

// logKey names one log: a step of an attempt of a job.
type logKey struct {
	job, attempt string
	step         uint32
}

// Logs calls seen with the chunks of a run's logs, each log's bytes in order and exactly once, also across outages.
// jobID "" is all jobs. With follow it returns when the run is terminal and all logs are complete.
func (c *Client) Logs(ctx context.Context, r *apiv1.StreamLogsRequest, seen func(*apiv1.StreamLogsResponse) error) error {
	op := "reading the logs of run " + r.GetRunId()
	t := c.newTries()
	next := map[logKey]int64{}
	for {
		done, err := c.logsOnce(ctx, r, t, next, seen)
		if done {
			return err
		}
		if !c.again(ctx, t, err) {
			return c.wrap(op, err)
		}
	}
}

func (c *Client) logsOnce(ctx context.Context, r *apiv1.StreamLogsRequest, t *tries, next map[logKey]int64,
	seen func(*apiv1.StreamLogsResponse) error) (done bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := c.logs.StreamLogs(ctx, r)
	if err != nil {
		return false, err
	}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
		c.answered.Store(true)
		t.progress()
		if !trim(m, next) {
			continue
		}
		if err := seen(m); err != nil {
			return true, err
		}
	}
}

// trim cuts from m what an earlier stream already delivered, and says whether anything is left.
func trim(m *apiv1.StreamLogsResponse, next map[logKey]int64) bool {
	k := logKey{m.GetJobId(), m.GetAttemptId(), m.GetStep()}
	have, end := next[k], m.GetOffset()+int64(len(m.GetData()))
	if end <= have {
		return false
	}
	if m.GetOffset() < have {
		m.Data = m.Data[have-m.GetOffset():]
		m.Offset = have
	}
	next[k] = end
	return true
}
