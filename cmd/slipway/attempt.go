package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/slipway-ci/slipway/internal/cli/pick"
	"github.com/slipway-ci/slipway/sdk/client"
)

// attemptFlag is --attempt of commands that show a run.
func attemptFlag(cmd *cobra.Command) *uint32 {
	return cmd.Flags().Uint32("attempt", 0, "this attempt of the run, from 1; a number as 12 means the newest")
}

// pickAttempt names the run that a command is about, and its attempt; 0 is the one that is named.
func (a *app) pickAttempt(ctx context.Context, cl *client.Client, args []string, attempt uint32) (string, error) {
	run, err := pick.Run(ctx, cl, a.project, args)
	if err != nil || attempt == 0 {
		return run, err
	}
	return fmt.Sprintf("%s.%d", run, attempt), nil
}
