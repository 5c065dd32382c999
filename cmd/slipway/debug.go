package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/slipway-ci/slipway/internal/cli/console"
	"github.com/slipway-ci/slipway/internal/cli/exit"
	"github.com/slipway-ci/slipway/internal/cli/pick"
	"github.com/slipway-ci/slipway/sdk/client"
)

func (a *app) debugCmd() *cobra.Command {
	cmd := &cobra.Command{
		ValidArgsFunction: a.completeRun,
		Use:               "debug RUN [JOB] [-- COMMAND…]",
		Short:             "Open a shell, or run a command, in the held pod of a job that failed",
		Long: `Open a shell, or run a command, in the pod of a job that failed, in a run that was started with --hold-on-failure. JOB may be left out if
only one is held. The shell has the failed step's user, directory and environment, without what may be a secret; the step's script lies beside
$GITHUB_OUTPUT. It is in the container that the step ran in: its own if it has an "image:", else the job's. --step N takes another step's.
While somebody is in the pod, its lease is extended, up to the coordinator's limit. Who was in it, when and with what command is recorded.

` + pick.Names + `

Exit codes: those of the command; 2 if the pod can't be entered, 3 if Slipway could not.`,
		Args: func(cmd *cobra.Command, args []string) error {
			if n := cmd.ArgsLenAtDash(); n >= 0 {
				args = args[:n]
			}
			return cobra.RangeArgs(1, 2)(cmd, args)
		},
	}
	step := cmd.Flags().Uint32("step", 0, "enter where this `number` of a step ran, from 1 after \"Set up job\"; default the step that failed")
	release := cmd.Flags().Bool("release", false, "let the pod go: after COMMAND, or, without one, at once")
	noTTY := cmd.Flags().BoolP("no-tty", "T", false, "no terminal for the command, even if standard input is one")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var command []string
		if n := cmd.ArgsLenAtDash(); n >= 0 {
			args, command = args[:n], args[n:]
		}
		body := func(ctx context.Context, cl *client.Client, args []string) error {
			id, err := pick.Run(ctx, cl, a.project, args[:1])
			if err != nil {
				return err
			}
			job := ""
			if len(args) > 1 {
				job = args[1]
			}
			if *release && len(command) == 0 {
				return a.releaseJob(ctx, cl, id, job)
			}
			code, err := console.Run(ctx, cl, console.Request{Run: id, Job: job, Step: *step, Command: command, NoTerminal: *noTTY, Release: *release, Term: a.getenv("TERM")}, a.out, a.err)
			if err != nil || code == 0 {
				return err
			}
			return exit.Silent(exit.Code(code))
		}
		return a.withClient(body)(cmd, args)
	}
	return cmd
}

func (a *app) releaseJob(ctx context.Context, cl *client.Client, run, job string) error {
	job, err := cl.ReleaseJob(ctx, run, job)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(a.out, "the pod of job %s is let go\n", job)
	return err
}
