package main

import (
	"github.com/spf13/cobra"

	"github.com/slipway-ci/slipway/internal/version"
)

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "slipway",
		Short: "Software delivery on your own build hosts",
		Long: `Slipway runs GitHub Actions workflows, and more, on your own build hosts.

  slipway dev --detach     start everything on this machine
  slipway run              run this project's workflows on the working tree
  slipway runs show        see how the newest run went

Exit codes: 0 succeeded, 1 the run failed, 2 invalid pipeline, input or usage (nothing was started),
3 Slipway could not do it, 4 cancelled.`,
		SilenceUsage:      true,
		SilenceErrors:     true,
		Args:              cobra.NoArgs,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		DisableAutoGenTag: true,
	}
	root.Version = version.String()
	root.SetVersionTemplate(versionLine())
	root.SetFlagErrorFunc(flagError)
	f := root.PersistentFlags()
	f.StringVar(&a.override.Context, "context", "", "named coordinator of the context file (env SLIPWAY_CONTEXT)")
	f.StringVar(&a.override.Address, "address", "", "coordinator, host:port (env SLIPWAY_ADDRESS)")
	f.StringVar(&a.override.CA, "ca", "", "file with the coordinator's CA certificate (env SLIPWAY_CA)")
	f.StringVar(&a.override.TokenFile, "token-file", "", "file with the user's token (env SLIPWAY_TOKEN holds the token itself)")
	f.StringVar(&a.project, "project", "", "project that runs belong to")
	root.AddCommand(a.devCmd(), a.coordinatorCmd(), a.agentCmd(),
		a.runCmd(), a.validateCmd(), a.planCmd(), a.evalCmd(), a.schemaCmd(), a.runsCmd(), a.whyCmd(), a.debugCmd(), a.demandCmd(), a.logsCmd(), a.artifactsCmd(),
		a.secretsCmd(), a.varsCmd(), a.agentsCmd(), a.tokensCmd(), a.adminCmd(), a.webCmd(), a.versionCmd())
	a.mark(root)
	return root
}

// mark makes every command note that it began: errors before that are of usage.
func (a *app) mark(cmd *cobra.Command) {
	if body := cmd.RunE; body != nil {
		cmd.RunE = func(cmd *cobra.Command, args []string) error {
			a.running = true
			return body(cmd, args)
		}
	}
	for _, child := range cmd.Commands() {
		a.mark(child)
	}
}

// group is a command that only holds others.
func group(use, short string, children ...*cobra.Command) *cobra.Command {
	g := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	g.AddCommand(children...)
	return g
}
