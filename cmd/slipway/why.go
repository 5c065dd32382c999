package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/slipway-ci/slipway/internal/cli/pick"
	"github.com/slipway-ci/slipway/internal/cli/show"
	"github.com/slipway-ci/slipway/sdk/client"
)

func (a *app) whyCmd() *cobra.Command {
	cmd := &cobra.Command{
		ValidArgsFunction: a.completeRun,
		Use:               "why RUN [JOB]", Short: "Say why a run's jobs wait, were skipped, were tried again or failed, and what would help", Args: cobra.RangeArgs(1, 2),
		Long: "Say why a run's jobs wait, were skipped, were tried again or failed, and what would help.\n\n" + pick.Names,
	}
	attempt := attemptFlag(cmd)
	format := output(cmd)
	cmd.RunE = a.withClient(func(ctx context.Context, cl *client.Client, args []string) error {
		json, err := asJSON(*format)
		if err != nil {
			return err
		}
		id, err := a.pickAttempt(ctx, cl, args[:1], *attempt)
		if err != nil {
			return err
		}
		job := ""
		if len(args) > 1 {
			job = args[1]
		}
		why, err := cl.Why(ctx, id, job)
		if err != nil {
			return err
		}
		if json {
			return show.Message(a.out, why)
		}
		return show.Why(a.out, why)
	})
	return cmd
}
