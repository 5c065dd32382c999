package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/slipway-ci/slipway/internal/cli/pick"
	"github.com/slipway-ci/slipway/internal/cli/show"
	"github.com/slipway-ci/slipway/sdk/client"
)

func (a *app) runsShowCmd() *cobra.Command {
	cmd := &cobra.Command{
		ValidArgsFunction: a.completeOnly,
		Use:               "show [RUN]",
		Short:             "Show a run's jobs, steps, failures, artifacts and tests",
		Long:              "Show a run's jobs, steps, failures, artifacts and tests; without RUN of the newest run.\n\n" + pick.Names,
		Args:              cobra.MaximumNArgs(1),
	}
	attempt := attemptFlag(cmd)
	format := output(cmd)
	cmd.RunE = a.withClient(func(ctx context.Context, cl *client.Client, args []string) error {
		json, err := asJSON(*format)
		if err != nil {
			return err
		}
		id, err := a.pickAttempt(ctx, cl, args, *attempt)
		if err != nil {
			return err
		}
		run, page, err := cl.RunPage(ctx, id)
		if err != nil {
			return err
		}
		if json {
			return show.Message(a.out, run)
		}
		return show.Run(a.out, run, page, a.style(), a.now())
	})
	return cmd
}
