package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/slipway-ci/slipway/internal/cli/pick"
	"github.com/slipway-ci/slipway/internal/cli/show"
	"github.com/slipway-ci/slipway/sdk/client"
)

func (a *app) artifactsListCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "ls [RUN]", Aliases: []string{"list"}, Short: "List a run's artifacts", Args: cobra.MaximumNArgs(1), ValidArgsFunction: a.completeOnly,
		Long: "List a run's artifacts, without RUN of the newest run.\n\n" + pick.Names}
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
		list, err := cl.Artifacts(ctx, id)
		if err != nil {
			return err
		}
		if json {
			return show.List(a.out, list.GetArtifacts())
		}
		return show.Artifacts(a.out, list.GetArtifacts())
	})
	return cmd
}
