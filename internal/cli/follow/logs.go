package follow

import (
	"context"
	"io"
	"strconv"
	"strings"

	"github.com/slipway-ci/slipway/internal/cli/exit"
	"github.com/slipway-ci/slipway/internal/tui"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
)

// LogAPI is what Logs and RawLogs need of sdk/client.
type LogAPI interface {
	Run(ctx context.Context, runID string) (*apiv1.Run, error)
	Logs(ctx context.Context, r *apiv1.StreamLogsRequest, seen func(*apiv1.StreamLogsResponse) error) error
}

// Logs prints the logs of a run with each line's job in front. job "" is all.
func Logs(ctx context.Context, api LogAPI, runID, job string, wait bool, d Display) error {
	run, err := api.Run(ctx, runID)
	if err != nil {
		return err
	}
	if err := known(run, job); err != nil {
		return err
	}
	d.Run(run)
	lastStep := map[string]uint32{}
	err = api.Logs(ctx, &apiv1.StreamLogsRequest{RunId: run.GetId(), JobId: job, Follow: wait}, func(l *apiv1.StreamLogsResponse) error {
		if step, seen := lastStep[l.GetJobId()]; wait && (!seen || step != l.GetStep()) {
			// A step that began since: its name is worth a call.
			lastStep[l.GetJobId()] = l.GetStep()
			if newer, err := api.Run(ctx, run.GetId()); err == nil {
				d.Run(newer)
			}
		}
		d.Log(run.GetId(), l)
		return d.Tick()
	})
	if closeErr := d.Close(); err == nil {
		err = closeErr
	}
	return err
}

// RawLogs writes the exact bytes of logs. Without a job, the logs of several jobs follow as they come.
func RawLogs(ctx context.Context, api LogAPI, runID, job string, wait bool, w io.Writer) error {
	run, err := api.Run(ctx, runID)
	if err != nil {
		return err
	}
	if err := known(run, job); err != nil {
		return err
	}
	return api.Logs(ctx, &apiv1.StreamLogsRequest{RunId: run.GetId(), JobId: job, Follow: wait}, func(l *apiv1.StreamLogsResponse) error {
		_, err := w.Write(l.GetData())
		return err
	})
}

// known checks a job's name against the run, so that a typing error does not look like an empty log.
func known(run *apiv1.Run, job string) error {
	if job == "" {
		return nil
	}
	for _, j := range run.GetJobs() {
		if j.GetId() == job || j.GetKey() == job {
			return nil
		}
	}
	names := make([]string, 0, len(run.GetJobs()))
	for _, j := range run.GetJobs() {
		names = append(names, strconv.Quote(j.GetId()))
	}
	return exit.Invalidf("run %s has no job %q; it has %s", tui.Number(run), job, strings.Join(names, ", "))
}
