package main

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func (a *app) agentsCmd() *cobra.Command {
	return group("agents", "List agents, drain and remove them, and let new ones join", a.agentsListCmd(), a.agentsShowCmd(), a.agentsDrainCmd(),
		a.agentsResumeCmd(), a.agentsRemoveCmd(), a.agentsJoinTokenCmd())
}

// agentNames is what a command's help says about its argument.
const agentNames = "AGENT is an agent's id, its host name, or the beginning of either if there is only one."

// completePatience bounds what a shell waits for.
const completePatience = 2 * time.Second

// completeAgent offers the host names and ids of agents for the first argument.
func (a *app) completeAgent(cmd *cobra.Command, args []string, begin string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	cl, err := a.client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	defer cl.Release()
	ctx, cancel := context.WithTimeout(cmd.Context(), completePatience)
	defer cancel()
	agents, err := cl.Agents(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var out []string
	for _, ag := range agents {
		for _, name := range [][2]string{{ag.GetHostname(), ag.GetId()}, {ag.GetId(), ag.GetHostname()}} {
			if name[0] != "" && strings.HasPrefix(name[0], begin) {
				out = append(out, name[0]+"\t"+name[1]+", "+ag.GetState())
			}
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}
