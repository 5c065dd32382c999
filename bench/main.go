// Command bench measures Slipway against the raw tools on the same machine, in one run, taking turns. See README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/slipway-ci/slipway/bench/engine"
	"github.com/slipway-ci/slipway/bench/fleet"
	"github.com/slipway-ci/slipway/bench/measure"
	"github.com/slipway-ci/slipway/coordinator/server"
)

// A benchmark returns one result per figure.
type benchmark struct {
	name string
	// run has a whole Slipway; alone makes what it needs by itself.
	run   func(ctx context.Context, s *stack) ([]measure.Result, error)
	alone func(ctx context.Context, o engine.Options) ([]measure.Result, error)
}

var benchmarks = []benchmark{
	{name: "step.exec", run: stepExec},
	{name: "run.noop", run: runNoop},
	{name: "run.first_log", run: runFirstLog},
	{name: "run.chain20_steps", run: runChain20Steps},
	{name: "run.chain20_jobs", run: runChain20Jobs},
	{name: "run.fanout100", run: runFanout100},
	{name: "log.100mb", run: log100MB},
	{name: "compile.steps10k", run: compileSteps10k},
	{name: "compile.matrix256", run: compileMatrix256},
	{name: "compile.jobs1000", run: compileJobs1000},
	{name: "compile.growth", run: compileGrowth},
	{name: "agent.memory", run: agentMemory},
	{name: "sandbox.neighbour", run: sandboxNeighbour},
	{name: "engine.dispatch", alone: engine.Dispatch},
	{name: "engine.queue100k", alone: engine.Queue},
	{name: "engine.restart", alone: engine.Restart},
	{name: "engine.idle_agents", alone: engine.Idle},
}

func main() {
	out := flag.String("out", "bench/results.json", "where the results go")
	only := flag.String("only", "", "comma-separated names; empty runs all")
	scale := flag.Float64("scale", 1, "multiplies the number of rounds")
	server.TuneGC(os.Getenv)
	profile := flag.String("profile", "", "directory for profiles of the coordinator, of engine.*")
	if len(os.Args) == 3 && os.Args[1] == fleet.Command {
		end(fleet.Main(context.Background(), os.Args[2], os.Stdin, os.Stdout))
		return
	}
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	end(run(ctx, *out, *only, engine.Options{Scale: *scale, Profile: *profile}))
}

func end(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out, only string, o engine.Options) (err error) {
	wanted := map[string]bool{}
	for _, name := range strings.Split(only, ",") {
		if name != "" {
			wanted[name] = true
		}
	}
	var s *stack
	defer func() {
		if s != nil {
			err = errors.Join(err, s.close())
		}
	}()
	var results []measure.Result
	for _, b := range benchmarks {
		if len(wanted) > 0 && !wanted[b.name] {
			continue
		}
		rs, err := b.measure(ctx, &s, o)
		if err != nil {
			return fmt.Errorf("%s: %w", b.name, err)
		}
		for _, r := range rs {
			fmt.Printf("%-22s %9.2f %-5s  baseline %9.2f  ratio %5.2f  p99 %9.2f  n %4d  (against %s)\n", r.Name, r.Value, r.Unit, r.Baseline, r.Ratio, r.P99, r.N, r.Against)
		}
		results = append(results, rs...)
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	return measure.Write(out, results)
}

// measure runs a benchmark, and starts the Slipway that it wants if there is none yet.
func (b benchmark) measure(ctx context.Context, s **stack, o engine.Options) (_ []measure.Result, err error) {
	if b.alone != nil {
		return b.alone(ctx, o)
	}
	if *s == nil {
		if *s, err = newStack(ctx, o.Scale); err != nil {
			return nil, err
		}
	}
	return b.run(ctx, *s)
}
