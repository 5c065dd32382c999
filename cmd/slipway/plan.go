package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/slipway-ci/slipway/internal/cli/launch"
	"github.com/slipway-ci/slipway/internal/cli/show"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

func (a *app) planCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plan [FILE]",
		Short: "Show what a workflow compiles into",
		Long: `Show the jobs, their order and steps, and which actions run as native steps. Without FILE, the workflows that the
event would start. Works without a coordinator; with --resolve the coordinator adds the images' digests.`,
		Args: cobra.MaximumNArgs(1),
	}
	f := cmd.Flags()
	ref := f.String("ref", "", "plan this commit, branch or tag instead of the working tree")
	event := f.String("event", "push", "event that the run would be of")
	resolve := f.Bool("resolve", false, "ask the coordinator for the images' digests")
	dir := f.StringP("dir", "C", "", "directory to look for workflows in, instead of the current one")
	format := output(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		json, err := asJSON(*format)
		if err != nil {
			return err
		}
		r, err := a.request(first(args), *ref, *event, "", *dir)
		if err != nil {
			return err
		}
		p, err := launch.Prepare(cmd.Context(), r, compileWorkflow, starts)
		if err != nil {
			return err
		}
		show.Diagnostics(a.err, p.Warnings)
		plans := p.Plans
		if *resolve {
			if plans, err = a.resolve(cmd.Context(), p); err != nil {
				return err
			}
		}
		if json {
			return show.List(a.out, plans)
		}
		return show.Plans(a.out, plans)
	}
	return cmd
}

func (a *app) resolve(ctx context.Context, p *launch.Prepared) ([]*planv1.Plan, error) {
	cl, err := a.client()
	if err != nil {
		return nil, err
	}
	defer cl.Release()
	return p.Resolve(ctx, cl)
}
