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

	"github.com/slipway-ci/slipway/bench/measure"
)

// A benchmark returns one result per figure.
type benchmark struct {
	name string
	run  func(ctx context.Context, s *stack) ([]measure.Result, error)
}

var benchmarks = []benchmark{
	{"step.exec", stepExec},
	{"run.noop", runNoop},
	{"run.first_log", runFirstLog},
	{"run.chain20_steps", runChain20Steps},
	{"run.chain20_jobs", runChain20Jobs},
	{"run.fanout100", runFanout100},
	{"log.100mb", log100MB},
	{"compile.steps10k", compileSteps10k},
	{"compile.matrix256", compileMatrix256},
	{"compile.jobs1000", compileJobs1000},
	{"agent.memory", agentMemory},
	{"sandbox.neighbour", sandboxNeighbour},
}

func main() {
	out := flag.String("out", "bench/results.json", "where the results go")
	only := flag.String("only", "", "comma-separated names; empty runs all")
	scale := flag.Float64("scale", 1, "multiplies the number of rounds")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *out, *only, *scale); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out, only string, scale float64) (err error) {
	wanted := map[string]bool{}
	for _, name := range strings.Split(only, ",") {
		if name != "" {
			wanted[name] = true
		}
	}
	s, err := newStack(ctx, scale)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	var results []measure.Result
	for _, b := range benchmarks {
		if len(wanted) > 0 && !wanted[b.name] {
			continue
		}
		rs, err := b.run(ctx, s)
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
