package conformance

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	"github.com/slipway-ci/slipway/sdk/client"
)

// series starts the runs of a case one after another, cancels those that are to be cancelled, and waits for all.
func series(ctx context.Context, dir string, c *testcase) ([]observed, error) {
	cl, err := sys.Client()
	if err != nil {
		return nil, err
	}
	defer cl.Release()
	ids := make([]string, len(c.want.Series))
	for i, r := range c.want.Series {
		res, err := sys.Slipway(ctx, dir, "run", "-d", cmp.Or(r.File, c.workflow()))
		if err != nil || res.Code != 0 {
			return nil, fmt.Errorf("run %d: exit code %d: %s: %w", i+1, res.Code, res.Stderr, err)
		}
		ids[i] = strings.TrimSpace(res.Stdout)
		if err := await(ctx, cl, ids[i], r.Until); err != nil {
			return nil, fmt.Errorf("run %d: %w", i+1, err)
		}
	}
	for i, r := range c.want.Series {
		if !r.Cancel {
			continue
		}
		if err := cl.Cancel(ctx, ids[i], "the case says so"); err != nil {
			return nil, err
		}
	}
	var all []observed
	for _, id := range ids {
		o := observed{code: -1}
		if err := cl.Watch(ctx, id, func(r *apiv1.Run) error { o.run = r; return nil }); err != nil {
			return nil, err
		}
		if o.logs, err = logsOf(ctx, id); err != nil {
			return nil, err
		}
		all = append(all, o)
	}
	return all, nil
}

// errSeen ends a stream.
var errSeen = errors.New("seen")

// await returns when a run is so far. The zero moment is at once.
func await(ctx context.Context, cl *client.Client, id string, at moment) error {
	var err error
	switch {
	case at.Log != "":
		var text strings.Builder
		err = cl.Logs(ctx, &apiv1.StreamLogsRequest{RunId: id, JobId: at.Job, Follow: true}, func(l *apiv1.StreamLogsResponse) error {
			text.Write(l.GetData())
			if strings.Contains(text.String(), at.Log) {
				return errSeen
			}
			return nil
		})
	case at.State != "":
		err = cl.Watch(ctx, id, func(r *apiv1.Run) error {
			if stateOf(r, at.Job) == at.State {
				return errSeen
			}
			return nil
		})
	default:
		return nil
	}
	if errors.Is(err, errSeen) {
		return nil
	}
	return fmt.Errorf("%+v never comes: %w", at, err)
}

// stateOf a run, or of one of its jobs, in lower case.
func stateOf(r *apiv1.Run, job string) string {
	if job == "" {
		return strings.ToLower(strings.TrimPrefix(r.GetState().String(), "RUN_STATE_"))
	}
	i := slices.IndexFunc(r.GetJobs(), func(j *apiv1.Job) bool { return j.GetId() == job })
	if i < 0 {
		return ""
	}
	return strings.ToLower(strings.TrimPrefix(r.GetJobs()[i].GetState().String(), "JOB_STATE_"))
}
