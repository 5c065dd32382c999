package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/slipway-ci/slipway/internal/cli/pick"
	"github.com/slipway-ci/slipway/internal/cli/show"
	"github.com/slipway-ci/slipway/sdk/client"
)

func (a *app) webCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "web [RUN]", Short: "Sign a browser in to the coordinator's pages", Args: cobra.MaximumNArgs(1),
		Long: `Print a link that signs a browser in to the coordinator's read-only pages, as the user of this token, and leads to RUN's page or to the list of
runs. The link works once and within two minutes: give it to nobody. The browser stays signed in for twelve hours, or until the token ends.

The coordinator's certificate is by its own CA unless its configuration names another: a browser that does not know the CA asks whether to go on.

` + pick.Names,
	}
	format := output(cmd)
	cmd.RunE = a.withClient(func(ctx context.Context, cl *client.Client, args []string) error {
		json, err := asJSON(*format)
		if err != nil {
			return err
		}
		id := ""
		if len(args) > 0 {
			name, err := pick.Run(ctx, cl, a.project, args)
			if err != nil {
				return err
			}
			run, err := cl.Run(ctx, name)
			if err != nil {
				return err
			}
			id = run.GetId()
		}
		link, expires, err := cl.SignIn(ctx, id)
		if err != nil {
			return err
		}
		return show.SignIn(a.out, link, expires, json)
	})
	return cmd
}
