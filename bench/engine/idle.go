package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/slipway-ci/slipway/bench/measure"
)

const (
	// spare descriptors, for the store, files and the rest.
	spare = 500
	// firstIdle agents are not counted.
	firstIdle = 100
	// mostIdle agents are connected, if the limit of descriptors allows it.
	mostIdle = 10_000
	// idleKiB and idleCores are what 10,000 idle agents may cost: memory for each, and processor time for all.
	idleKiB, idleCores = 60.0, 0.1
)

// Idle is what agents cost that have sessions and nothing to do: engine.idle_agents, memory for each, and engine.idle_cpu, extrapolated to 10,000.
func Idle(ctx context.Context, o Options) (_ []measure.Result, err error) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return nil, err
	}
	n := min(mostIdle, int(limit.Cur)-spare)
	if o.Scale < 1 {
		n = int(float64(n) * o.Scale)
	}
	c, err := newCoordinator(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	// What the first ones cost is the coordinator's own: code, caches, the store's clock.
	first, err := c.fleet(ctx, firstIdle, 1)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, first.Close()) }()
	before, own, err := idle(ctx, first.PID())
	if err != nil {
		return nil, err
	}
	f, err := c.fleet(ctx, n, 1)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	after, all, err := idle(ctx, f.PID())
	if err != nil {
		return nil, err
	}
	if _, err := f.Stats(); err != nil {
		return nil, err
	}
	each := float64(after-before) / 1024 / float64(n)
	cores := (all - own) / float64(n) * mostIdle
	return []measure.Result{
		{Name: "engine.idle_agents", Value: each, Unit: "KiB", Better: measure.Lower, Baseline: idleKiB, Ratio: each / idleKiB, N: n, P50: each, P99: each,
			Against: "the most that is allowed"},
		{Name: "engine.idle_cpu", Value: 100 * cores, Unit: "%", Better: measure.Lower, Baseline: 100 * idleCores, Ratio: cores / idleCores, N: n, P50: 100 * cores, P99: 100 * cores,
			Against: fmt.Sprintf("the most of a core for %d; measured with %d", mostIdle, n)},
	}, nil
}

// idle waits until what connecting left behind is gone, and returns the memory of this process in bytes and what of a core it then takes.
func idle(ctx context.Context, fleet int) (memory int64, cores float64, err error) {
	if err := pause(ctx, 10*time.Second); err != nil {
		return 0, 0, err
	}
	debug.FreeOSMemory()
	used, _, err := cpus(fleet)
	if err != nil {
		return 0, 0, err
	}
	begun := time.Now()
	if err := pause(ctx, 20*time.Second); err != nil {
		return 0, 0, err
	}
	// Not at once after the collection: stacks that it made smaller grow again with the next heartbeat.
	if memory, err = resident(); err != nil {
		return 0, 0, err
	}
	then, _, err := cpus(fleet)
	return memory, (then - used).Seconds() / time.Since(begun).Seconds(), err
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
