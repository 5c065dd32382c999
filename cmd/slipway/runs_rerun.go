package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/slipway-ci/slipway/internal/cli/launch"
	"github.com/slipway-ci/slipway/internal/cli/pick"
	"github.com/slipway-ci/slipway/internal/cli/show"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	"github.com/slipway-ci/slipway/sdk/client"
)

func (a *app) runsRerunCmd() *cobra.Command {
	cmd := &cobra.Command{
		ValidArgsFunction: a.completeOnly,
		Use:               "rerun RUN", Short: "Run an ended run again, as another attempt of it, and follow to the end", Args: cobra.ExactArgs(1),
		Long: `Run an ended run again, as another attempt of it: the same workflow, images, commit and number. Without flags all of it; with --failed the jobs
that did not succeed, with --job one job, each with all jobs that need it. The results, outputs and artifacts of the others are kept.

What a kept job printed is not shown again; "slipway logs" has it. Without --hold-on-failure pods are held as in the attempt before.
Exit codes are those of "slipway run".

` + pick.Names,
	}
	failed := cmd.Flags().Bool("failed", false, "only the jobs that did not succeed, and all that need them")
	job := cmd.Flags().String("job", "", "only this job (its key, or its id for one leg of a matrix), and all that need it")
	hold := holdFlag(cmd)
	detach := cmd.Flags().BoolP("detach", "d", false, "print the attempt's id and leave it running")
	cmd.MarkFlagsMutuallyExclusive("failed", "job")
	format := output(cmd)
	cmd.RunE = a.withClient(func(ctx context.Context, cl *client.Client, args []string) error {
		json, err := asJSON(*format)
		if err != nil {
			return err
		}
		held, err := hold()
		if err != nil {
			return err
		}
		run, err := pick.Run(ctx, cl, a.project, args)
		if err != nil {
			return err
		}
		interrupts, stop := a.interrupts()
		defer stop()
		var r *apiv1.RerunRunResponse
		_, interrupted, err := launch.Interruptible(ctx, interrupts, func(ctx context.Context) ([]launch.Submitted, error) {
			var err error
			r, err = cl.Rerun(ctx, &apiv1.RerunRunRequest{RunId: run, Failed: *failed, JobId: *job, HoldMs: held.Milliseconds()})
			return nil, err
		})
		if err != nil {
			return err
		}
		if *detach {
			return show.Rerun(a.out, r, json)
		}
		return a.follow(ctx, cl, []string{r.GetRunId()}, interrupts, interrupted, json)
	})
	return cmd
}
