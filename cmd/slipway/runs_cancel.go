package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/slipway-ci/slipway/internal/cli/pick"
	"github.com/slipway-ci/slipway/internal/tui"
	"github.com/slipway-ci/slipway/sdk/client"
)

func (a *app) runsCancelCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "cancel RUN", Short: "Ask a run to end; its clean-up steps still run", Args: cobra.ExactArgs(1)}
	reason := cmd.Flags().String("reason", "", "why, for those who look at the run")
	cmd.RunE = a.withClient(func(ctx context.Context, cl *client.Client, args []string) error {
		id, err := pick.Run(ctx, cl, a.project, args)
		if err != nil {
			return err
		}
		if err := cl.Cancel(ctx, id, *reason); err != nil {
			return err
		}
		if r, err := cl.Run(ctx, id); err == nil && r.GetEndedMs() != 0 {
			_, err := fmt.Fprintf(a.out, "run %s has ended: %s\n", id, tui.RunWord(r.GetState()))
			return err
		}
		_, err = fmt.Fprintf(a.out, "run %s is asked to end\n", id)
		return err
	})
	return cmd
}
