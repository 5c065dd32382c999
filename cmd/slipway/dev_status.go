package main

import (
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/slipway-ci/slipway/internal/cli/dev"
	"github.com/slipway-ci/slipway/internal/cli/exit"
	"github.com/slipway-ci/slipway/internal/cli/show"
)

func (a *app) devStatusCmd(open func(*slog.Logger) (*dev.Dev, error)) *cobra.Command {
	cmd := &cobra.Command{Use: "status", Short: "Show what of `slipway dev` runs; exit code 3 if it is not healthy", Args: cobra.NoArgs}
	format := output(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		json, err := asJSON(*format)
		if err != nil {
			return err
		}
		d, err := open(slog.New(slog.DiscardHandler))
		if err != nil {
			return err
		}
		s, err := d.Status(cmd.Context())
		if err != nil {
			return exit.With(exit.System, err)
		}
		if json {
			err = show.Value(a.out, s)
		} else {
			err = dev.Print(a.out, s)
		}
		if err == nil && !s.Healthy {
			err = exit.Silent(exit.System)
		}
		return err
	}
	return cmd
}
