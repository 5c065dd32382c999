package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/slipway-ci/slipway/internal/cli/follow"
	"github.com/slipway-ci/slipway/internal/cli/pick"
	"github.com/slipway-ci/slipway/sdk/client"
)

func (a *app) logsCmd() *cobra.Command {
	cmd := &cobra.Command{
		ValidArgsFunction: a.completeRun,
		Use:               "logs [RUN [JOB]]",
		Short:             "Print logs",
		Long:              "Print the logs of a run's jobs, without RUN of the newest run. JOB is a job's key, or its id for one leg of a matrix.\n\n" + pick.Names,
		Args:              cobra.MaximumNArgs(2),
	}
	wait := cmd.Flags().BoolP("follow", "f", false, "go on until the run has ended")
	attempt := attemptFlag(cmd)
	raw := cmd.Flags().Bool("raw", false, "the exact bytes that steps wrote, without prefixes")
	cmd.RunE = a.withClient(func(ctx context.Context, cl *client.Client, args []string) error {
		id, err := a.pickAttempt(ctx, cl, args, *attempt)
		if err != nil {
			return err
		}
		job := ""
		if len(args) == 2 {
			job = args[1]
		}
		if *raw {
			return follow.RawLogs(ctx, cl, id, job, *wait, a.out)
		}
		return follow.Logs(ctx, cl, id, job, *wait, follow.LogsOnly(a.out, a.style().Colour))
	})
	return cmd
}
