package main

import "github.com/spf13/cobra"

func (a *app) agentsCmd() *cobra.Command {
	return group("agents", "List agents, and let new ones join", a.agentsListCmd(), a.agentsJoinTokenCmd())
}
