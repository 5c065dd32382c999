package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/slipway-ci/slipway/internal/tui"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	"github.com/slipway-ci/slipway/sdk/client"
)

// completeRun offers the newest runs by their numbers for the first argument, and for a second one the jobs of that run.
func (a *app) completeRun(cmd *cobra.Command, args []string, begin string) ([]string, cobra.ShellCompDirective) {
	cl, err := a.client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	defer cl.Release()
	ctx, cancel := context.WithTimeout(cmd.Context(), completePatience)
	defer cancel()
	var names []string
	switch len(args) {
	case 0:
		names, err = a.runNames(ctx, cl)
	case 1:
		names, err = a.jobNames(ctx, cl, args)
	}
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var out []string
	for _, name := range names {
		if strings.HasPrefix(name, begin) {
			out = append(out, name)
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
}

func (a *app) runNames(ctx context.Context, cl *client.Client) ([]string, error) {
	runs, err := cl.Runs(ctx, a.project, 0)
	var out []string
	for _, r := range runs {
		out = append(out, fmt.Sprintf("%s\t%s, %s", strings.TrimPrefix(tui.Number(r), "#"), tui.Clean(r.GetName()), tui.RunWord(r.GetState())))
	}
	return out, err
}

func (a *app) jobNames(ctx context.Context, cl *client.Client, args []string) ([]string, error) {
	id, err := a.pickAttempt(ctx, cl, args, 0)
	if err != nil {
		return nil, err
	}
	run, err := cl.Run(ctx, id)
	var out []string
	for _, j := range run.GetJobs() {
		out = append(out, describeJob(j))
	}
	return out, err
}

func describeJob(j *apiv1.Job) string {
	return fmt.Sprintf("%s\t%s, %s", j.GetId(), tui.JobName(j), tui.JobWord(j.GetState()))
}

// completeOnly is a completion of the first argument, which is the only one that names a run.
func (a *app) completeOnly(cmd *cobra.Command, args []string, begin string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.completeRun(cmd, args, begin)
}
