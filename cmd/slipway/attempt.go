package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/slipway-ci/slipway/internal/cli/pick"
	"github.com/slipway-ci/slipway/sdk/client"
)

// attemptFlag is --attempt of commands that show a run.
func attemptFlag(cmd *cobra.Command) *uint32 {
	return cmd.Flags().Uint32("attempt", 0, "this attempt of the run, from 1: --attempt 1 of run 12 is 12.1")
}

// pickAttempt names the run that a command is about, and its attempt; 0 is the one that is named.
func (a *app) pickAttempt(ctx context.Context, cl *client.Client, args []string, attempt uint32) (string, error) {
	return pick.Attempt(ctx, cl, a.project, args, attempt)
}
