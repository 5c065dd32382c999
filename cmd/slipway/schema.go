package main

import (
	"github.com/spf13/cobra"

	"github.com/slipway-ci/slipway/internal/cli/exit"
	"github.com/slipway-ci/slipway/pipeline/syntax"
)

func (a *app) schemaCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON schema of workflow files, for editors",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			schema, err := syntax.Schema()
			if err != nil {
				return exit.With(exit.System, err)
			}
			_, err = a.out.Write(schema)
			return exit.With(exit.System, err)
		},
	}
}
