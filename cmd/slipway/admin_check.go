package main

import (
	"errors"

	"github.com/spf13/cobra"

	"github.com/slipway-ci/slipway/coordinator/server"
	"github.com/slipway-ci/slipway/internal/cli/admin"
	"github.com/slipway-ci/slipway/internal/cli/exit"
)

func (a *app) adminCheckCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "check", Short: "Check that what a coordinator has stored holds together", Args: cobra.NoArgs,
		Long: `Follow every project's chain of finished runs to its beginning, hold bundles, logs and blobs against their digests, the index against
the bundles, and the store against what it refers to. Every discrepancy is told, with what to do about it.

Exit codes: 0 everything holds together, 1 there are discrepancies, 2 wrong usage, 3 it could not be checked.`,
	}
	flags := addCoordinatorFlags(cmd)
	f := cmd.Flags()
	quick := f.Bool("quick", false, "do not read the content of logs, artifacts and sources")
	rebuild := f.Bool("rebuild-index", false, "make the index of finished runs again first; the coordinator must not run")
	format := output(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		json, err := asJSON(*format)
		if err != nil {
			return err
		}
		return a.withFiles(cmd.Context(), flags, func(f *server.Files) error {
			r, err := f.Check(cmd.Context(), *quick, *rebuild)
			if errors.Is(err, server.ErrRunning) {
				return exit.With(exit.Invalid, err)
			}
			if err != nil {
				return exit.With(exit.System, err)
			}
			if err := admin.Report(a.out, r, json); err != nil {
				return err
			}
			if len(r.Findings) > 0 {
				return exit.Silent(exit.Failed)
			}
			return nil
		})
	}
	return cmd
}
