package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/slipway-ci/slipway/internal/cli/show"
	"github.com/slipway-ci/slipway/sdk/client"
)

func (a *app) runsListCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "ls", Aliases: []string{"list"}, Short: "List runs, newest first", Args: cobra.NoArgs}
	limit := cmd.Flags().Uint32P("limit", "n", 20, "how many, at most 1000")
	format := output(cmd)
	cmd.RunE = a.withClient(func(ctx context.Context, cl *client.Client, _ []string) error {
		json, err := asJSON(*format)
		if err != nil {
			return err
		}
		runs, err := cl.Runs(ctx, a.project, *limit)
		if err != nil {
			return err
		}
		if json {
			return show.List(a.out, runs)
		}
		return show.Runs(a.out, runs, a.now())
	})
	return cmd
}
