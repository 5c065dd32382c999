package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/slipway-ci/slipway/internal/cli/show"
	"github.com/slipway-ci/slipway/sdk/client"
)

func (a *app) demandCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "demand", Short: "What queued jobs ask for, by pools and labels: for whoever adds agents", Args: cobra.NoArgs}
	format := output(cmd)
	cmd.RunE = a.withClient(func(ctx context.Context, cl *client.Client, _ []string) error {
		json, err := asJSON(*format)
		if err != nil {
			return err
		}
		all, err := cl.Demand(ctx)
		if err != nil {
			return err
		}
		if json {
			return show.List(a.out, all)
		}
		return show.Demand(a.out, all)
	})
	return cmd
}
