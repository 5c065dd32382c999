package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-ci/slipway/internal/cli/show"
	"github.com/slipway-ci/slipway/sdk/client"
)

func (a *app) agentsJoinTokenCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "join-token", Short: "Make a token with which agents join a pool", Args: cobra.NoArgs}
	f := cmd.Flags()
	pool := f.String("pool", "default", "pool that the agents belong to, fixed in their certificates")
	labels := f.StringSlice("labels", nil, "further labels, fixed in their certificates")
	ttl := f.Duration("ttl", time.Hour, "how long the token can be used")
	uses := f.Uint32("uses", 1, "how many agents may join with it")
	format := output(cmd)
	cmd.RunE = a.withClient(func(ctx context.Context, cl *client.Client, _ []string) error {
		json, err := asJSON(*format)
		if err != nil {
			return err
		}
		if err := notPast(*ttl); err != nil {
			return err
		}
		t, err := cl.CreateJoinToken(ctx, client.JoinToken{Pool: *pool, Labels: splitList(*labels), TTL: *ttl, Uses: *uses})
		if err != nil {
			return err
		}
		return show.Token(a.out, t, json)
	})
	return cmd
}
