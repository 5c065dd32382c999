package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"sync/atomic"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/slipway-ci/slipway/internal/cli/agentconf"
	"github.com/slipway-ci/slipway/internal/cli/dev"
	"github.com/slipway-ci/slipway/internal/cli/exit"
	"github.com/slipway-ci/slipway/internal/devstack"
	"github.com/slipway-ci/slipway/internal/telemetry"
)

func (a *app) devCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a coordinator, an agent and, where none runs, a private containerd on this machine",
		Long: `Run everything on this machine, as processes that survive each other: killing one leaves the others running, and a
new "slipway dev" adopts what runs. State lies in the XDG directories. Needs root.

INT or TERM stops the processes in order; jobs that run live on and are taken up by the next "slipway dev".
"slipway dev --stop" also removes them, and whatever else was started.`,
		Args: cobra.NoArgs,
	}
	f := cmd.PersistentFlags()
	conf := f.String("config", "", "coordinator configuration to take over; kept for later starts")
	listen := f.String("listen", "127.0.0.1:7420", "address of the coordinator")
	metrics := f.String("metrics", "127.0.0.1:7421", "address of the coordinator's /metrics")
	web := f.String("web", "127.0.0.1:7423", "address of the coordinator's pages for browsers, see \"slipway web\"; empty for none")
	agentMetrics := f.String("agent-metrics", "127.0.0.1:7422", "address of the agent's /metrics")
	slots := f.Int("slots", 0, "how many jobs run at once (default twice the number of processors)")
	warm := f.Int("warm-pods", agentconf.DefaultWarmPods, "how many containers wait ready for each kind of job that came lately; 0 for none")
	private := f.Bool("private-containerd", false, "run a private containerd even if this machine has one")
	detach := cmd.Flags().Bool("detach", false, "return once everything is healthy, and leave it running")
	stop := cmd.Flags().Bool("stop", false, "stop it and everything that it started")
	cmd.MarkFlagsMutuallyExclusive("detach", "stop")
	open := func(log *slog.Logger) (*dev.Dev, error) {
		c := dev.Config{Coordinator: *conf, Listen: *listen, Metrics: *metrics, Web: *web, AgentMetrics: *agentMetrics, Slots: *slots, WarmPods: *warm, PrivateContainerd: *private, Log: log}
		return a.newDev(c)
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		log, err := telemetry.Logger(a.err, "info", "text")
		if err != nil {
			return err
		}
		d, err := open(log)
		switch {
		case err != nil:
			return err
		case *stop:
			return exit.With(exit.System, d.Stop(cmd.Context()))
		case *detach:
			args, err := devArgs(cmd)
			if err != nil {
				return err
			}
			return a.devDetach(cmd.Context(), d, args)
		}
		return a.devRun(cmd.Context(), d)
	}
	cmd.AddCommand(a.devStatusCmd(open))
	return cmd
}

// devArgs are the flags to give to a supervisor in the background.
func devArgs(cmd *cobra.Command) ([]string, error) {
	args := []string{"dev"}
	for _, name := range []string{"config", "listen", "metrics", "web", "agent-metrics", "slots", "warm-pods", "private-containerd"} {
		f := cmd.Flags().Lookup(name)
		if !f.Changed {
			continue
		}
		value := f.Value.String()
		if name == "config" {
			// The supervisor works in /.
			var err error
			if value, err = filepath.Abs(value); err != nil {
				return nil, exit.With(exit.System, err)
			}
		}
		args = append(args, "--"+name+"="+value)
	}
	return args, nil
}

func (a *app) devDetach(ctx context.Context, d *dev.Dev, args []string) error {
	if err := d.Detach(ctx, args); err != nil {
		return exit.With(exit.System, err)
	}
	s, err := d.Status(ctx)
	if err != nil {
		return exit.With(exit.System, err)
	}
	_, err = fmt.Fprintf(a.out, "slipway dev runs at %s; logs are in %s; `slipway dev --stop` stops it\n", s.Address, a.dirs().State)
	return err
}

func (a *app) devRun(ctx context.Context, d *dev.Dev) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var leave atomic.Bool
	handover := make(chan os.Signal, 1)
	signal.Notify(handover, dev.Handover)
	defer signal.Stop(handover)
	go func() {
		select {
		case <-handover:
			leave.Store(true)
			cancel()
		case <-ctx.Done():
		}
	}()
	err := d.Run(ctx, leave.Load, func() { fmt.Fprintln(a.err, "slipway dev is ready; Ctrl-C stops it") })
	if errors.Is(err, devstack.ErrRunning) {
		return exit.Systemf("slipway dev runs already: `slipway dev status` shows it, `slipway dev --stop` stops it")
	}
	return exit.With(exit.System, err)
}
