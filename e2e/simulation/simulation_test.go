package simulation

import (
	"flag"
	"fmt"
	"testing"
)

var (
	flagSeed = flag.Uint64("seed", 0, "first seed")
	flagN    = flag.Int("seeds", 20, "how many seeds")
	flagRuns = flag.Int("runs", 20, "runs a seed")
	flagShow = flag.Bool("show", false, "print the history")

	flagDigests = flag.Bool("digests", false, "print digests of histories")
	flagReplay  = flag.Int("replays", 5, "seeds that TestReplay compares")
)

func report(t *testing.T, r *Result) {
	t.Helper()
	if r.Err != nil {
		t.Fatalf("seed %d: the simulator failed: %v\n%s", r.Seed, r.Err, r.History(100))
	}
	if r.Violation != nil {
		t.Errorf("seed %d: %v\nreplay: %s\n%s", r.Seed, r.Violation, replay(r.Seed), r.History(150))
	}
}

func replay(seed uint64) string {
	return fmt.Sprintf("go test ./e2e/simulation -run 'TestSeeds$' -seed %d -seeds 1 -runs %d -show", seed, *flagRuns)
}

func TestSeeds(t *testing.T) {
	if testing.Short() {
		*flagN = min(*flagN, 5)
	}
	for seed := *flagSeed; seed < *flagSeed+uint64(*flagN); seed++ {
		r := Run(t, Options{Seed: seed, Runs: *flagRuns})
		report(t, r)
		if *flagShow {
			t.Log("\n" + r.History(1_000_000))
		}
		t.Logf("seed %d: %d runs, %d jobs, %d events, %v virtual, %v", seed, r.Runs, r.Jobs, r.Events, r.Virtual, r.Kinds)
		if t.Failed() {
			return
		}
	}
}
