package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/slipway-ci/slipway/internal/cli/show"
	"github.com/slipway-ci/slipway/sdk/client"
)

func (a *app) agentsListCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "ls", Aliases: []string{"list"}, Short: "List agents", Args: cobra.NoArgs}
	format := output(cmd)
	cmd.RunE = a.withClient(func(ctx context.Context, cl *client.Client, _ []string) error {
		json, err := asJSON(*format)
		if err != nil {
			return err
		}
		agents, err := cl.Agents(ctx)
		if err != nil {
			return err
		}
		if json {
			return show.List(a.out, agents)
		}
		return show.Agents(a.out, agents, a.now())
	})
	return cmd
}
