package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-ci/slipway/internal/cli/exit"
	"github.com/slipway-ci/slipway/internal/cli/launch"
	"github.com/slipway-ci/slipway/internal/cli/planview"
	"github.com/slipway-ci/slipway/internal/cli/settings"
	"github.com/slipway-ci/slipway/internal/cli/show"
	"github.com/slipway-ci/slipway/pipeline/diag"
	"github.com/slipway-ci/slipway/sdk/client"
)

// planPatience is how long `slipway plan` waits for a coordinator that it can do without.
const planPatience = 2 * time.Second

func (a *app) planCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "plan [FILE]",
		Short: "Show what a workflow compiles into, and what an event would run of it",
		Long: `Show the graph of a workflow: its jobs with their images, pools, matrices and steps, which actions run as native steps, what waits for what,
and what the event would skip. Without FILE, the workflows that the event would start. Starts nothing.

What Slipway can't run yet is marked with ! and does not keep the plan from being shown; a wrong file is exit code 2.
A coordinator, if one can be reached, gives images their digests; without one they are shown by name.`,
		Args: cobra.MaximumNArgs(1),
	}
	f := cmd.Flags()
	r := launch.Request{Draft: true}
	f.StringVar(&r.Ref, "ref", "", "plan this commit, branch or tag instead of the working tree")
	f.StringVar(&r.Event, "event", "push", "event that the run would be of")
	f.StringVar(&r.PayloadFile, "payload", "", "JSON file that becomes github.event")
	f.StringVarP(&r.Dir, "dir", "C", "", "act as if started in this `directory`")
	jobs := f.StringSlice("job", nil, "only this job and what it needs; repeatable")
	resolve := f.Bool("resolve", false, "fail unless the coordinator resolves all images")
	offline := f.Bool("offline", false, "do not ask a coordinator")
	format := f.StringP("output", "o", "text", "output format: text, json or dot")
	cmd.MarkFlagsMutuallyExclusive("resolve", "offline")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !planview.IsFormat(*format) {
			return exit.Invalidf("unknown output format %q: want text, json or dot", *format)
		}
		request, err := a.request(first(args), r.Ref, r.Event, r.PayloadFile, r.Dir)
		if err != nil {
			return err
		}
		request.Draft, request.Jobs = true, splitList(*jobs)
		p, err := launch.Prepare(cmd.Context(), request, draftWorkflow, starts)
		if err != nil {
			return err
		}
		var known resolved
		switch {
		case *offline:
			known.why = "--offline"
		default:
			if known, err = a.resolvePlan(cmd.Context(), p, *resolve); err != nil {
				return err
			}
		}
		return a.showPlan(p, known, *format)
	}
	return cmd
}

// resolved is what a coordinator said, or why it said nothing.
type resolved struct {
	list []launch.Resolution
	why  string
}

// resolvePlan asks the coordinator. Unless must is set, not to get an answer is no error.
func (a *app) resolvePlan(ctx context.Context, p *launch.Prepared, must bool) (resolved, error) {
	if p.Warnings.HasErrors() {
		if must {
			return resolved{}, exit.With(exit.Invalid, &launch.Findings{List: p.Warnings})
		}
		return resolved{why: "a coordinator compiles only what it can run"}, nil
	}
	cl, err := a.client()
	if err != nil {
		if !must && errors.Is(err, settings.ErrNoContext) {
			return resolved{why: "no coordinator is set up here"}, nil
		}
		return resolved{}, err
	}
	defer cl.Release()
	if !must {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, planPatience)
		defer cancel()
	}
	p.Project = a.project
	list, err := p.Resolve(ctx, cl)
	switch {
	case err == nil:
		return resolved{list: list}, nil
	case must:
		return resolved{}, err
	case errors.Is(err, client.ErrUnreachable), errors.Is(err, context.DeadlineExceeded):
		return resolved{why: "the coordinator can't be reached"}, nil
	case errors.Is(err, client.ErrUntrusted):
		return resolved{why: "what listens at the coordinator's address is not trusted"}, nil
	}
	why, _, _ := strings.Cut(err.Error(), "\n")
	return resolved{why: "the coordinator refused: " + why}, nil
}

// showPlan prints the workflows as they were compiled here, with what the coordinator knows of them.
func (a *app) showPlan(p *launch.Prepared, known resolved, format string) error {
	var all []*planview.Workflow
	for i, plan := range p.Plans {
		in := planview.Input{Plan: plan, Findings: p.Found[i], Unresolved: known.why,
			Event: planview.Event{Name: p.Event.Name, Ref: p.Event.Ref, BaseRef: p.Event.BaseRef, Payload: p.Event.Payload}}
		if in.Starts, in.Reason = starts(p.Workflows[i], p.Event); in.Starts {
			in.Reason = ""
		}
		if i < len(known.list) {
			plan.Images, in.Pools, in.Resolved = known.list[i].Images, known.list[i].Pools, true
		}
		all = append(all, planview.New(in))
	}
	width := 0
	if size, ok := a.terminal(); ok {
		width = size.Width
	}
	if format == planview.Text {
		// What is not supported is in the text itself.
		show.Warnings(a.err, slices.DeleteFunc(slices.Clone(p.Warnings), diag.Diagnostic.Unsupported))
	}
	return planview.Write(a.out, all, format, a.style(), width)
}
