package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"time"

	"github.com/slipway-ci/slipway/bench/fleet"
	"github.com/slipway-ci/slipway/bench/measure"
)

// Options of a measurement.
type Options struct {
	// Scale multiplies how long it takes.
	Scale float64
	// Profile is a directory for pprof's profiles; "" makes none.
	Profile string
}

func (o Options) seconds(n float64) time.Duration {
	return time.Duration(n * o.Scale * float64(time.Second))
}

// half is the directory for the profiles of half the load.
func (o Options) half() string {
	if o.Profile == "" {
		return ""
	}
	return filepath.Join(o.Profile, "half")
}

const (
	agents = 1000
	slots  = 4
	// window of runs that are submitted and not finished.
	window = 3000
)

// Dispatch is one-step jobs, one run each, through assigned → running → finished, on a fleet of 1,000 agents: engine.dispatch with as many as it takes
// for a minute, then engine.assign_latency at half of that.
func Dispatch(ctx context.Context, o Options) (_ []measure.Result, err error) {
	limits, err := measureLimits(ctx, o.seconds(10))
	if err != nil {
		return nil, err
	}
	c, err := newCoordinator(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	f, err := c.fleet(ctx, agents, slots)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()

	l := newLoad(ctx, c, "bench").closed(f, window)
	at, err := pass(ctx, f, o.seconds(8), "") // warm
	if err == nil {
		at, err = pass(ctx, f, o.seconds(60), o.Profile)
	}
	if err = errors.Join(err, l.end()); err != nil {
		return nil, err
	}
	fmt.Println("dispatch:", at, "refused", l.refused.Load(), "limits:", fmt.Sprintf("%.0f jobs/s, fsync p50 %.2f ms", limits.jobs, limits.fsync.Quantile(0.5)))
	half := at.rate / 2
	l = newLoad(ctx, c, "bench").open(ctx, half)
	if _, err = pass(ctx, f, o.seconds(5), ""); err != nil {
		return nil, errors.Join(err, l.end())
	}
	calm, err := pass(ctx, f, o.seconds(30), o.half())
	if err = errors.Join(err, l.end()); err != nil {
		return nil, err
	}
	fmt.Println("assign:", calm)
	fsync := limits.fsync.Quantile(0.5)
	return []measure.Result{
		{Name: "engine.dispatch", Value: at.rate, Unit: "1/s", Better: measure.Higher, Baseline: limits.jobs, Ratio: at.rate / limits.jobs, N: int(at.jobs), P50: at.rate, P99: at.rate,
			Against: "etcd alone, the same records"},
		{Name: "engine.dispatch_cpu", Value: at.coordinator, Unit: "µs", Better: measure.Lower, Baseline: 1e6 / limits.jobs, Ratio: at.coordinator * limits.jobs / 1e6, N: int(at.jobs),
			P50: at.coordinator, P99: at.coordinator, Against: "one such job of etcd alone"},
		{Name: "engine.assign_latency", Value: calm.stats.P99, Unit: "ms", Better: measure.Lower, Baseline: fsync, Ratio: calm.stats.P99 / fsync, N: calm.stats.Offered, P50: calm.stats.P50,
			P99: calm.stats.P99, Against: "fsync of 4 KiB, p50"},
	}, nil
}

// passed is what happened in an interval.
type passed struct {
	jobs  int64
	rate  float64
	stats fleet.Stats
	// coordinator and fleet are processor time per job, in microseconds.
	coordinator, fleet float64
	heap               uint64
}

func (p passed) String() string {
	return fmt.Sprintf("%.0f jobs/s, %d jobs, submit → offer p50 %.1f p99 %.1f max %.1f ms, CPU per job: coordinator %.0f µs, agents %.0f µs, heap %d MiB", p.rate, p.jobs,
		p.stats.P50, p.stats.P99, p.stats.Max, p.coordinator, p.fleet, p.heap>>20)
}

func pass(ctx context.Context, f *fleet.Process, d time.Duration, profile string) (passed, error) {
	if _, err := f.Stats(); err != nil {
		return passed{}, err
	}
	stop, err := profiling(profile)
	if err != nil {
		return passed{}, err
	}
	own, theirs, err := cpus(f.PID())
	if err != nil {
		return passed{}, err
	}
	begun, before := time.Now(), f.Finished()
	select {
	case <-time.After(d):
	case <-ctx.Done():
		return passed{}, ctx.Err()
	}
	p := passed{jobs: f.Finished() - before}
	took := time.Since(begun)
	own2, theirs2, err := cpus(f.PID())
	if err = errors.Join(err, stop()); err != nil {
		return passed{}, err
	}
	p.rate = float64(p.jobs) / took.Seconds()
	p.coordinator, p.fleet = (own2-own).Seconds()*1e6/float64(p.jobs), (theirs2-theirs).Seconds()*1e6/float64(p.jobs)
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	p.heap = m.HeapAlloc
	p.stats, err = f.Stats()
	return p, err
}

func profiling(dir string) (stop func() error, err error) {
	if dir == "" {
		return func() error { return nil }, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	out, err := os.Create(filepath.Join(dir, "cpu.pprof"))
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(out); err != nil {
		return nil, errors.Join(err, out.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		heap, err := os.Create(filepath.Join(dir, "heap.pprof"))
		if err != nil {
			return errors.Join(err, out.Close())
		}
		return errors.Join(pprof.Lookup("allocs").WriteTo(heap, 0), heap.Close(), out.Close())
	}, nil
}
