package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-ci/slipway/internal/cli/drain"
	"github.com/slipway-ci/slipway/internal/cli/exit"
	"github.com/slipway-ci/slipway/internal/cli/show"
	"github.com/slipway-ci/slipway/sdk/client"
)

func (a *app) agentsDrainCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "drain AGENT", Short: "Give an agent no new work, and let what runs there end", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeAgent,
		Long: `Give an agent no new work, until "slipway agents resume". What runs there goes on; what still runs at the deadline is cancelled in
order, and its job is run elsewhere if none of its steps had begun or its "retry: {on: [lost]}" allows it; else it fails, saying so.
Draining an agent again replaces deadline and reason. ` + agentNames,
	}
	f := cmd.Flags()
	deadline := f.Duration("deadline", 30*time.Minute, "how long what runs may go on; 0 is for ever")
	reason := f.String("reason", "", "why; shown wherever somebody waits for the agent")
	wait := f.Bool("wait", false, "return when nothing runs there any more")
	format := output(cmd)
	cmd.RunE = a.withClient(func(ctx context.Context, cl *client.Client, args []string) error {
		json, err := asJSON(*format)
		if err != nil {
			return err
		}
		if *deadline < 0 {
			return exit.Invalidf("--deadline %s: it can't be in the past; 0 is no deadline", *deadline)
		}
		agent, err := cl.DrainAgent(ctx, args[0], *deadline, *reason)
		if err != nil {
			return err
		}
		if *wait {
			if agent, err = drain.Wait(ctx, cl, agent, a.err); err != nil {
				return err
			}
		}
		if json {
			return show.Message(a.out, agent)
		}
		return show.Drained(a.out, agent, a.now())
	})
	return cmd
}

func (a *app) agentsResumeCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "resume AGENT", Short: "Give a drained agent work again", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeAgent,
		Long: "Give a drained agent work again. " + agentNames,
	}
	format := output(cmd)
	cmd.RunE = a.withClient(func(ctx context.Context, cl *client.Client, args []string) error {
		json, err := asJSON(*format)
		if err != nil {
			return err
		}
		agent, err := cl.ResumeAgent(ctx, args[0])
		if err != nil {
			return err
		}
		if json {
			return show.Message(a.out, agent)
		}
		return show.Drained(a.out, agent, a.now())
	})
	return cmd
}

func (a *app) agentsRemoveCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "rm AGENT", Aliases: []string{"remove"}, Short: "Forget an agent, and refuse its certificate from now on", Args: cobra.ExactArgs(1),
		ValidArgsFunction: a.completeAgent,
		Long: `Forget an agent, and refuse its certificate from now on. An agent that has jobs is refused: drain it first, or use --force, which
loses them. ` + agentNames,
	}
	force := cmd.Flags().Bool("force", false, "also if it has jobs; they are lost")
	cmd.RunE = a.withClient(func(ctx context.Context, cl *client.Client, args []string) error {
		id, err := cl.RemoveAgent(ctx, args[0], *force)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(a.out, "removed agent %s\n", id)
		return err
	})
	return cmd
}
