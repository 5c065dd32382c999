package main

import (
	"cmp"
	"context"

	"github.com/spf13/cobra"

	"github.com/slipway-ci/slipway/internal/cli/exit"
	"github.com/slipway-ci/slipway/internal/cli/show"
	"github.com/slipway-ci/slipway/internal/cli/value"
	"github.com/slipway-ci/slipway/sdk/client"
)

const settingNames = `A NAME has letters, digits and _, does not begin with a digit or GITHUB_, and is the same in upper and lower case.
It is the project's (--project, default "default"), or with --org the whole organisation's; a project's goes before the organisation's.`

func (a *app) secretsCmd() *cobra.Command {
	return group("secrets", "Secrets of projects and of the organisation", a.secretsSetCmd(), a.secretsListCmd(), a.secretsRemoveCmd())
}

// orgFlag adds --org.
func orgFlag(cmd *cobra.Command) *bool {
	return cmd.Flags().Bool("org", false, "the organisation's, which all projects see; needs an administrator")
}

// setting is what a command's argument names.
func (a *app) setting(cmd *cobra.Command, name string, org bool) (client.Setting, error) {
	switch {
	case !org:
		return client.Setting{Project: a.projectName(), Name: name}, nil
	case cmd.Flags().Changed("project"):
		return client.Setting{}, exit.Invalidf("either --org or --project, not both")
	}
	return client.Setting{Organisation: true, Name: name}, nil
}

// projectName is the project of flags or context; the coordinator calls it so too if there is none.
func (a *app) projectName() string { return cmp.Or(a.project, "default") }

func (a *app) secretsSetCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "set NAME", Short: "Keep a secret, or a new version of it", Args: cobra.ExactArgs(1),
		Long: `Keep a secret, or a new version of it. The value, at most 48 KB of text, is never an argument, which other processes could see: on a terminal
it is asked for without echo; else it is all of standard input, without one line break at its end; with --file all of a file as it is.
Attempts that have begun keep the version that they had.

` + settingNames,
	}
	org := orgFlag(cmd)
	file := cmd.Flags().String("file", "", "file that holds the value")
	format := output(cmd)
	cmd.RunE = a.withClient(func(ctx context.Context, cl *client.Client, args []string) error {
		json, err := asJSON(*format)
		if err != nil {
			return err
		}
		setting, err := a.setting(cmd, args[0], *org)
		if err != nil {
			return err
		}
		text, err := value.Source{File: *file, In: a.in, Err: a.err, Interrupts: a.interrupts}.Read(ctx, "Value of "+args[0])
		if err != nil {
			return err
		}
		s, err := cl.SetSecret(ctx, setting, text)
		if err != nil {
			return err
		}
		if json {
			return show.Message(a.out, s)
		}
		return show.SetSecret(a.out, s)
	})
	return cmd
}

func (a *app) secretsListCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "ls", Aliases: []string{"list"}, Short: "List the names of a project's secrets and of the organisation's", Args: cobra.NoArgs}
	format := output(cmd)
	cmd.RunE = a.withClient(func(ctx context.Context, cl *client.Client, _ []string) error {
		json, err := asJSON(*format)
		if err != nil {
			return err
		}
		all, err := cl.Secrets(ctx, a.projectName())
		if err != nil {
			return err
		}
		if json {
			return show.List(a.out, all)
		}
		return show.Secrets(a.out, all, a.now())
	})
	return cmd
}

func (a *app) secretsRemoveCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "rm NAME", Aliases: []string{"remove"}, Short: "Keep a secret from every attempt that begins from now on", Args: cobra.ExactArgs(1),
		Long: `Keep a secret from every attempt that begins from now on. Attempts that have begun keep it; what was known may have been read, so replace it
where it opens something.

` + settingNames,
	}
	org := orgFlag(cmd)
	cmd.RunE = a.withClient(func(ctx context.Context, cl *client.Client, args []string) error {
		setting, err := a.setting(cmd, args[0], *org)
		if err != nil {
			return err
		}
		if err := cl.RemoveSecret(ctx, setting); err != nil {
			return err
		}
		return show.Removed(a.out, "secret", args[0], setting.Project)
	})
	return cmd
}
