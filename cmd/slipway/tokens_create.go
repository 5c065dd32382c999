package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/slipway-ci/slipway/internal/cli/show"
	"github.com/slipway-ci/slipway/sdk/client"
)

func (a *app) tokensCreateCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "create --user NAME", Short: "Make a token for a user; it is shown once", Args: cobra.NoArgs}
	f := cmd.Flags()
	user := f.String("user", "", "the user's name")
	groups := f.StringSlice("groups", nil, "groups that the user is in")
	ttl := f.Duration("ttl", 0, "how long the token holds; default 90 days")
	format := output(cmd)
	// The flag is there: the only error is a misspelt name.
	cobra.CheckErr(cmd.MarkFlagRequired("user"))
	cmd.RunE = a.withClient(func(ctx context.Context, cl *client.Client, _ []string) error {
		json, err := asJSON(*format)
		if err != nil {
			return err
		}
		if err := notPast(*ttl); err != nil {
			return err
		}
		t, err := cl.CreateToken(ctx, *user, splitList(*groups), *ttl)
		if err != nil {
			return err
		}
		return show.Token(a.out, t, json)
	})
	return cmd
}
