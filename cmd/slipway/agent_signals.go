package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/slipway-ci/slipway/internal/systemd"
)

// leaver ends an agent by signals, so that no job is killed by one:
//
//	TERM, INT     drain: take no more work, wait for the jobs, leave at the deadline at the latest
//	… once more   leave at once; what runs lives on, and the agent's next process goes on with it
//	USR1          the same at once: a restart, an upgrade
type leaver struct {
	// ctx ends when the agent is to leave.
	ctx  context.Context //nolint:containedctx // the life of the agent's process
	stop func()

	mu     sync.Mutex
	drains func(limit time.Duration, reason string)
}

// drainPulse is how often the service manager is told that a drain goes on, drainStretch how long it is to wait each time.
const drainPulse, drainStretch = 10 * time.Second, time.Minute

// leaveOnSignals listens from now on. limit is a drain's deadline.
func (a *app) leaveOnSignals(ctx context.Context, limit time.Duration, log *slog.Logger) *leaver {
	l := &leaver{}
	signals := make(chan os.Signal, 4)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGUSR1)
	ctx, cancel := context.WithCancel(ctx)
	l.ctx = ctx
	var wg sync.WaitGroup
	wg.Go(func() {
		for draining := false; ; {
			select {
			case <-ctx.Done():
				return
			case sig := <-signals:
				if sig == syscall.SIGUSR1 || draining || !l.begin(limit, sig) {
					log.Info("leaving at once; jobs that run live on, and the next agent on this host goes on with them", "signal", sig.String())
					cancel()
					return
				}
				draining = true
				log.Info("draining: no new work is taken; leaving when the jobs have ended, or at the deadline, or at a second signal, and then they live on",
					"signal", sig.String(), "deadline", limit)
				wg.Go(func() { a.sayDraining(ctx, log) })
			}
		}
	})
	l.stop = func() {
		signal.Stop(signals)
		cancel()
		wg.Wait()
	}
	return l
}

// drain says what a first signal does from now on.
func (l *leaver) drain(f func(limit time.Duration, reason string)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drains = f
}

// begin drains; false if there is nothing to drain yet.
func (l *leaver) begin(limit time.Duration, sig os.Signal) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.drains == nil {
		return false
	}
	l.drains(limit, "its process was told to stop (signal "+sig.String()+")")
	return true
}

// sayDraining keeps the service manager from losing its patience, until ctx ends.
func (a *app) sayDraining(ctx context.Context, log *slog.Logger) {
	manager, err := systemd.FromEnv(a.getenv, os.Getpid())
	if err != nil {
		return // said at the start
	}
	tick := time.NewTicker(drainPulse)
	defer tick.Stop()
	for {
		if err := manager.Draining(drainStretch, "draining: waiting for jobs"); err != nil {
			log.Warn("service manager", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
