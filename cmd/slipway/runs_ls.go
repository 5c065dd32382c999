package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/slipway-ci/slipway/internal/cli/exit"
	"github.com/slipway-ci/slipway/internal/cli/runfilter"
	"github.com/slipway-ci/slipway/internal/cli/show"
	"github.com/slipway-ci/slipway/sdk/client"
)

func (a *app) runsListCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List and search runs, newest first", Args: cobra.NoArgs,
		Long: `List runs, newest first: those that live and finished ones, for as long as these are kept. Filters go together.

Where there are more, the last line (with -o json a line on stderr) has the --page to go on with.`,
		Example: "  slipway runs ls --pipeline ci.yml --branch main --status failed --since 7d",
	}
	f := cmd.Flags()
	var want runfilter.Flags
	f.Uint32VarP(&want.Limit, "limit", "n", 20, "how many, at most 1000")
	f.StringVar(&want.Pipeline, "pipeline", "", "name of the workflow, or its file's path or name")
	f.StringVar(&want.Branch, "branch", "", "branch or tag, or a whole ref")
	f.StringVar(&want.Commit, "commit", "", "commit's hash, or its beginning")
	f.StringSliceVar(&want.Status, "status", nil, "states, as failed, succeeded, running; live is all that have not ended")
	f.StringVar(&want.User, "user", "", "who submitted it")
	f.StringVar(&want.Since, "since", "", "created since: how long ago, as 90m or 7d, or a time as 2006-01-02")
	f.StringVar(&want.Until, "until", "", "created before: as --since")
	f.StringVar(&want.Page, "page", "", "where a listing before stopped")
	format := output(cmd)
	cmd.RunE = a.withClient(func(ctx context.Context, cl *client.Client, _ []string) error {
		json, err := asJSON(*format)
		if err != nil {
			return err
		}
		want.Project = a.project
		req, err := want.Request(a.now())
		if err != nil {
			return exit.With(exit.Invalid, err)
		}
		runs, next, err := cl.FindRuns(ctx, req)
		if err != nil {
			return err
		}
		if json {
			if next != "" {
				fmt.Fprintf(a.err, "more: --page %s\n", next)
			}
			return show.List(a.out, runs)
		}
		filtered := want.Filters()
		if len(runs) == 0 && filtered {
			_, err := fmt.Fprintln(a.out, "no runs are like that")
			return err
		}
		if err := show.Runs(a.out, runs, a.now()); err != nil || next == "" || !filtered && !f.Changed("limit") {
			return err
		}
		_, err = fmt.Fprintf(a.out, "more: --page %s\n", next)
		return err
	})
	return cmd
}
