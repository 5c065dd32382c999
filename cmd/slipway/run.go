package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/slipway-ci/slipway/internal/cli/exit"
	"github.com/slipway-ci/slipway/internal/cli/follow"
	"github.com/slipway-ci/slipway/internal/cli/launch"
	"github.com/slipway-ci/slipway/internal/cli/planview"
	"github.com/slipway-ci/slipway/internal/cli/show"
	"github.com/slipway-ci/slipway/internal/tui"
	"github.com/slipway-ci/slipway/sdk/client"
)

func (a *app) runCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "run [FILE]",
		Short: "Run a workflow, or those that an event would start, and follow to the end",
		Long: `Run a workflow on the working tree and follow it to the end. Without FILE, every workflow of .slipway/ and
.github/workflows/ that the event would start; with FILE that one, whatever its "on:" says.

With --job, only that job and all that it needs. With --dry-run the coordinator compiles and resolves everything, the plan is shown, and nothing starts.

Ctrl-C once cancels the run and waits for its clean-up, twice leaves at once.
Exit codes: 0 succeeded, 1 failed, 2 invalid (nothing was started), 3 Slipway could not, 4 cancelled.`,
		Args: cobra.MaximumNArgs(1),
	}
	f := cmd.Flags()
	ref := f.String("ref", "", "run this commit, branch or tag instead of the working tree")
	event := f.String("event", "push", "event that the run is of")
	payload := f.String("payload", "", "JSON file that becomes github.event")
	dir := f.StringP("dir", "C", "", "act as if started in this `directory`")
	detach := f.BoolP("detach", "d", false, "print the run's id and leave it running")
	jobs := f.StringSlice("job", nil, "only this job and what it needs; repeatable")
	hold := holdFlag(cmd)
	idFile := f.String("id-file", "", "write the id of each run that was started to this `file`, a line each")
	dry := f.Bool("dry-run", false, "show the plan as the coordinator would run it, and start nothing")
	cmd.MarkFlagsMutuallyExclusive("detach", "dry-run")
	cmd.MarkFlagsMutuallyExclusive("id-file", "dry-run")
	format := output(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		json, err := asJSON(*format)
		if err != nil {
			return err
		}
		r, err := a.request(first(args), *ref, *event, *payload, *dir)
		if err != nil {
			return err
		}
		r.Jobs = splitList(*jobs)
		if r.Hold, err = hold(); err != nil {
			return err
		}
		if cmd.Flags().Changed("job") && len(r.Jobs) == 0 {
			return exit.Invalidf("--job needs the id of a job")
		}
		if *dry {
			return a.dryRun(cmd.Context(), r, *format)
		}
		return a.run(cmd.Context(), r, *idFile, *detach, json)
	}
	return cmd
}

// holdFlag adds --hold-on-failure; the function returns its value, 0 if it is not given.
func holdFlag(cmd *cobra.Command) func() (time.Duration, error) {
	const name = "hold-on-failure"
	f := cmd.Flags()
	hold := f.Duration(name, 0, "keep the pods of jobs that fail for this `duration`, for slipway debug RUN JOB; without one (not even a blank: --hold-on-failure=1h) for 30m")
	f.Lookup(name).NoOptDefVal = "30m"
	return func() (time.Duration, error) {
		if f.Changed(name) && *hold < time.Second {
			return 0, exit.Invalidf("--%s=%v: it is at least 1s", name, *hold)
		}
		return *hold, nil
	}
}

func (a *app) run(ctx context.Context, r launch.Request, idFile string, detach, json bool) error {
	p, err := launch.Prepare(ctx, r, compileWorkflow, starts)
	if err != nil {
		return err
	}
	show.Warnings(a.err, p.Warnings)
	cl, err := a.client()
	if err != nil {
		return err
	}
	defer cl.Release()
	p.Project = a.project
	interrupts, stop := a.interrupts()
	defer stop()
	runs, interrupted, err := launch.Interruptible(ctx, interrupts, func(ctx context.Context) ([]launch.Submitted, error) { return p.Submit(ctx, cl) })
	if err != nil {
		return err
	}
	ids := launch.IDs(runs)
	if err := writeIDs(idFile, ids); err != nil {
		return err
	}
	if !json {
		show.Pages(a.err, runs)
	}
	if detach {
		return show.Submitted(a.out, runs, json)
	}
	return a.follow(ctx, cl, ids, interrupts, interrupted, json)
}

// writeIDs is --id-file, for scripts that go on with the runs that they started; "" is none.
func writeIDs(file string, ids []string) error {
	if file == "" {
		return nil
	}
	if err := os.WriteFile(file, []byte(strings.Join(ids, "\n")+"\n"), 0o644); err != nil {
		return exit.Systemf("started %s, and the id can't be written: %w", strings.Join(ids, ", "), err)
	}
	return nil
}

// follow follows runs to their ends.
func (a *app) follow(ctx context.Context, cl *client.Client, ids []string, interrupts <-chan os.Signal, interrupted bool, json bool) error {
	out, err := follow.Follow(ctx, cl, ids, a.display(ids, json), follow.Options{
		Interrupts: interrupts, Interrupted: interrupted, Frame: a.frame(json), LogPatience: time.Minute})
	if err != nil {
		return fmt.Errorf("%w\nThe run goes on without being watched: `slipway runs show %s` says how it went", err, ids[0])
	}
	if out.Left {
		fmt.Fprintln(a.err, "slipway: left; the cancelled run cleans up by itself")
		return exit.Silent(out.Code())
	}
	if err := show.Outcome(a.out, out.Runs, json, a.now()); err != nil {
		return err
	}
	if code := out.Code(); code != exit.OK {
		return exit.Silent(code)
	}
	return nil
}

// dryRun does all of a submit but to start.
func (a *app) dryRun(ctx context.Context, r launch.Request, format string) error {
	p, err := launch.Prepare(ctx, r, compileWorkflow, starts)
	if err != nil {
		return err
	}
	known, err := a.resolvePlan(ctx, p, true)
	if err != nil {
		return err
	}
	if err := a.showPlan(p, known, format); err != nil || format != planview.Text {
		return err
	}
	_, err = fmt.Fprintln(a.out, "Nothing was started: this was a dry run.")
	return err
}

// display is the live tree on a terminal, plain lines elsewhere, nothing where the output is JSON.
func (a *app) display(ids []string, json bool) follow.Display {
	style := tui.StyleFrom(a.getenv)
	if json {
		return follow.Quiet()
	}
	if !a.live() {
		return follow.Plain(a.out, false, len(ids) > 1)
	}
	return tui.NewLive(a.out, style, func() tui.Size { s, _ := a.terminal(); return s }, a.now, ids...)
}

// live says whether the output is a terminal that can be drawn on.
func (a *app) live() bool {
	_, ok := a.terminal()
	return ok && a.getenv("TERM") != "dumb" && a.getenv("TERM") != ""
}

// frame is the time between two ticks of the display: on a terminal how often it is drawn.
func (a *app) frame(json bool) time.Duration {
	switch {
	case json:
		return 0
	case a.live():
		return 80 * time.Millisecond
	}
	return 200 * time.Millisecond
}
