package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/slipway-ci/slipway/internal/cli/pick"
	"github.com/slipway-ci/slipway/internal/cli/show"
	"github.com/slipway-ci/slipway/sdk/client"
)

func (a *app) runsCancelCmd() *cobra.Command {
	cmd := &cobra.Command{
		ValidArgsFunction: a.completeOnly,
		Use:               "cancel RUN", Short: "Ask a run to end; its clean-up steps still run", Args: cobra.ExactArgs(1),
		Long: `Ask a run to end; its clean-up steps still run. Pods that --hold-on-failure keeps are let go, also those of a run that has ended.

A number, as 12, is the run as a whole: its newest attempt is asked to end, and what any earlier one holds is let go. 12.1, or an id, is
that attempt and no other.

` + pick.Names,
	}
	reason := cmd.Flags().String("reason", "", "why, for those who look at the run")
	cmd.RunE = a.withClient(func(ctx context.Context, cl *client.Client, args []string) error {
		id, err := pick.Run(ctx, cl, a.project, args)
		if err != nil {
			return err
		}
		if err := cl.Cancel(ctx, id, *reason); err != nil {
			return err
		}
		r, err := cl.Run(ctx, id)
		if err != nil {
			return err
		}
		return show.Cancelled(a.out, r, pick.Whole(id))
	})
	return cmd
}
