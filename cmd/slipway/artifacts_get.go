package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/slipway-ci/slipway/internal/cli/artifact"
	"github.com/slipway-ci/slipway/internal/cli/pick"
	"github.com/slipway-ci/slipway/sdk/client"
)

func (a *app) artifactsGetCmd() *cobra.Command {
	cmd := &cobra.Command{
		ValidArgsFunction: a.completeOnly,
		Use:               "get RUN NAME",
		Short:             "Download an artifact",
		Long:              "Download an artifact and lay its files out in a directory named like it.\n\n" + pick.Names,
		Args:              cobra.ExactArgs(2),
	}
	dir := cmd.Flags().String("dir", "", "directory for the files; default is the artifact's name")
	zip := cmd.Flags().String("zip", "", "write the zip to this file instead")
	cmd.MarkFlagsMutuallyExclusive("dir", "zip")
	cmd.RunE = a.withClient(func(ctx context.Context, cl *client.Client, args []string) error {
		id, err := pick.Run(ctx, cl, a.project, args)
		if err != nil {
			return err
		}
		if *zip != "" {
			return artifact.Zip(ctx, cl, id, args[1], *zip)
		}
		target, err := artifact.Dir(*dir, args[1])
		if err != nil {
			return err
		}
		n, err := artifact.Get(ctx, cl, id, args[1], target)
		if err != nil {
			return err
		}
		files := "files"
		if n == 1 {
			files = "file"
		}
		_, err = fmt.Fprintf(a.out, "%d %s in %s\n", n, files, target)
		return err
	})
	return cmd
}
