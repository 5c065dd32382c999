package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"github.com/slipway-ci/slipway/internal/cli/show"
	"github.com/slipway-ci/slipway/internal/version"
)

func (a *app) versionCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "version", Short: "Print the version", Args: cobra.NoArgs}
	format := output(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		json, err := asJSON(*format)
		if err != nil {
			return err
		}
		if json {
			return show.Value(a.out, map[string]string{"version": version.String(), "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH})
		}
		_, err = fmt.Fprint(a.out, versionLine())
		return err
	}
	return cmd
}

// versionLine is also what `slipway --version` prints.
func versionLine() string {
	return fmt.Sprintf("slipway %s %s %s/%s\n", version.String(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
