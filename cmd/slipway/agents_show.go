package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/slipway-ci/slipway/internal/cli/show"
	"github.com/slipway-ci/slipway/sdk/client"
)

func (a *app) agentsShowCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "show AGENT", Short: "Show an agent: its state, what it has and what runs there, and why it takes no work", Args: cobra.ExactArgs(1),
		Long: "Show an agent: its state, what it has and what runs there, and why it takes no work. " + agentNames, ValidArgsFunction: a.completeAgent,
	}
	format := output(cmd)
	cmd.RunE = a.withClient(func(ctx context.Context, cl *client.Client, args []string) error {
		json, err := asJSON(*format)
		if err != nil {
			return err
		}
		agent, err := cl.Agent(ctx, args[0])
		if err != nil {
			return err
		}
		if json {
			return show.Message(a.out, agent)
		}
		return show.Agent(a.out, agent, a.now())
	})
	return cmd
}
