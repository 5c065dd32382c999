package main

import (
	"io"

	"github.com/spf13/cobra"

	"github.com/slipway-ci/slipway/internal/cli/exit"
	"github.com/slipway-ci/slipway/internal/cli/launch"
	"github.com/slipway-ci/slipway/internal/cli/show"
)

func (a *app) validateCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "validate [FILE|DIRECTORY...]",
		Short: "Check workflow files; needs no coordinator",
		Long: `Check workflow files, and those in directories; without either all of this project's. All findings come at once.
Exit code 2 if any file has errors; with --runnable also if one needs what Slipway can't do yet. Images are resolved by the coordinator, not here.`,
	}
	format := cmd.Flags().StringP("output", "o", string(show.Text), "output format: text, json or sarif (2.1.0)")
	runnable := cmd.Flags().Bool("runnable", false, "exit code 2 also for a file that is right, and that Slipway can't run yet")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		write, ok := validationFormats[show.Format(*format)]
		if !ok {
			return exit.Invalidf("unknown output format %q: want text, json or sarif", *format)
		}
		r, err := a.request("", "", "push", "", "")
		if err != nil {
			return err
		}
		v, err := launch.Validate(cmd.Context(), r.Dir, args, compileWorkflow)
		if err != nil {
			return err
		}
		if err := write(a.out, v); err != nil {
			return err
		}
		if !v.Valid() || *runnable && !v.Runnable() {
			return exit.Silent(exit.Invalid)
		}
		return nil
	}
	return cmd
}

var validationFormats = map[show.Format]func(io.Writer, launch.Validation) error{
	show.Text:  func(w io.Writer, v launch.Validation) error { return show.Validation(w, v, false) },
	show.JSON:  func(w io.Writer, v launch.Validation) error { return show.Validation(w, v, true) },
	show.SARIF: show.ValidationSARIF,
}
