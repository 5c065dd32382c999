package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"go.opentelemetry.io/otel/trace"

	"github.com/slipway-ci/slipway/internal/cli/exit"
	"github.com/slipway-ci/slipway/internal/systemd"
	"github.com/slipway-ci/slipway/internal/telemetry"
	"github.com/slipway-ci/slipway/internal/version"
)

// logFlags are the flags of processes that log.
type logFlags struct{ level, format *string }

func addLogFlags(cmd *cobra.Command) logFlags {
	return logFlags{cmd.Flags().String("log-level", "info", "debug, info, warn or error"), cmd.Flags().String("log-format", "json", "json or text")}
}

// notify tells the service manager, if there is one that listens, when ready is closed, from then on that the process lives as long as
// alive agrees, and when ctx ends that it stops. stop ends that.
func (a *app) notify(ctx context.Context, log *slog.Logger, ready <-chan struct{}, alive func(context.Context) error) (stop func(), err error) {
	manager, err := systemd.FromEnv(a.getenv, os.Getpid())
	if err != nil {
		return nil, err
	}
	warn := func(err error) {
		if err != nil {
			log.Warn("service manager", "error", err)
		}
	}
	watching, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		select {
		case <-ready:
			warn(manager.Ready(version.String()))
			manager.Watch(watching, alive, warn)
		case <-watching.Done():
		}
		<-watching.Done()
		warn(manager.Stopping())
	}()
	return func() {
		cancel()
		<-done
	}, nil
}

// serve runs a long-lived part with logging and traces until INT or TERM. The tracer provider is nil if nothing is to be traced.
func (a *app) serve(ctx context.Context, service string, f logFlags, run func(context.Context, *slog.Logger, trace.TracerProvider) error) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	return a.serveUntil(ctx, service, f, run)
}

// serveUntil is serve for a part that listens to signals itself.
func (a *app) serveUntil(ctx context.Context, service string, f logFlags, run func(context.Context, *slog.Logger, trace.TracerProvider) error) (err error) {
	log, err := telemetry.Logger(a.err, *f.level, *f.format)
	if err != nil {
		return exit.With(exit.Invalid, err)
	}
	tracers, flush, err := telemetry.Traces(ctx, a.getenv, service, version.String(), log)
	if err != nil {
		return exit.With(exit.Invalid, err)
	}
	defer func() {
		// A collector that is away must not make an orderly stop fail.
		if flushErr := flush(); flushErr != nil {
			log.Warn("telemetry", "error", flushErr)
		}
	}()
	err = run(ctx, log, tracers)
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return nil // An orderly stop.
	}
	return exit.With(exit.System, err)
}
