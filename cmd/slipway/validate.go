package main

import (
	"github.com/spf13/cobra"

	"github.com/slipway-ci/slipway/internal/cli/exit"
	"github.com/slipway-ci/slipway/internal/cli/launch"
	"github.com/slipway-ci/slipway/internal/cli/show"
)

func (a *app) validateCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "validate [FILE...]",
		Short: "Check workflow files; needs no coordinator",
		Long:  "Check workflow files, without FILE all of this project's. Exit code 2 if any has errors. Images are resolved by the coordinator, not here.",
	}
	format := output(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		json, err := asJSON(*format)
		if err != nil {
			return err
		}
		r, err := a.request("", "", "push", "", "")
		if err != nil {
			return err
		}
		v, err := launch.Validate(cmd.Context(), r.Dir, args, compileWorkflow)
		if err != nil {
			return err
		}
		if err := show.Validation(a.out, v, json); err != nil {
			return err
		}
		if !v.Valid() {
			return exit.Silent(exit.Invalid)
		}
		return nil
	}
	return cmd
}
