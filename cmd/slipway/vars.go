package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/slipway-ci/slipway/internal/cli/exit"
	"github.com/slipway-ci/slipway/internal/cli/show"
	"github.com/slipway-ci/slipway/internal/cli/value"
	"github.com/slipway-ci/slipway/sdk/client"
)

func (a *app) varsCmd() *cobra.Command {
	return group("vars", "Variables of projects and of the organisation", a.varsSetCmd(), a.varsListCmd(), a.varsRemoveCmd())
}

func (a *app) varsSetCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "set NAME [VALUE]", Short: "Keep a variable", Args: cobra.RangeArgs(1, 2),
		Long: `Keep a variable, which is no secret: it is shown in lists and logs. Without VALUE it is read from standard input, or from --file. Runs that were
submitted before keep what they saw.

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
		if len(args) == 2 && *file != "" {
			return exit.Invalidf("either VALUE or --file, not both")
		}
		setting, err := a.setting(cmd, args[0], *org)
		if err != nil {
			return err
		}
		var text string
		if len(args) == 2 {
			text = args[1]
		} else if text, err = (value.Source{File: *file, In: a.in, Err: a.err, Interrupts: a.interrupts}).Read(ctx, "Value of "+args[0]); err != nil {
			return err
		}
		v, err := cl.SetVariable(ctx, setting, text)
		if err != nil {
			return err
		}
		if json {
			return show.Message(a.out, v)
		}
		return show.SetVariable(a.out, v)
	})
	return cmd
}

func (a *app) varsListCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "ls", Aliases: []string{"list"}, Short: "List a project's variables and the organisation's", Args: cobra.NoArgs}
	format := output(cmd)
	cmd.RunE = a.withClient(func(ctx context.Context, cl *client.Client, _ []string) error {
		json, err := asJSON(*format)
		if err != nil {
			return err
		}
		all, err := cl.Variables(ctx, a.projectName())
		if err != nil {
			return err
		}
		if json {
			return show.List(a.out, all)
		}
		return show.Variables(a.out, all, a.now())
	})
	return cmd
}

func (a *app) varsRemoveCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "rm NAME", Aliases: []string{"remove"}, Short: "Forget a variable", Args: cobra.ExactArgs(1), Long: "Forget a variable.\n\n" + settingNames}
	org := orgFlag(cmd)
	cmd.RunE = a.withClient(func(ctx context.Context, cl *client.Client, args []string) error {
		setting, err := a.setting(cmd, args[0], *org)
		if err != nil {
			return err
		}
		if err := cl.RemoveVariable(ctx, setting); err != nil {
			return err
		}
		return show.Removed(a.out, "variable", args[0], setting.Project)
	})
	return cmd
}
