package simulation

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/coordinator/engine"
)

// TestDigests prints the digest of each seed's history; TestReplay runs it in processes of its own.
func TestDigests(t *testing.T) {
	if !*flagDigests {
		t.Skip("only with -digests")
	}
	for seed := *flagSeed; seed < *flagSeed+uint64(*flagN); seed++ {
		r := Run(t, Options{Seed: seed, Runs: *flagRuns})
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		fmt.Printf("digest %d %s %d\n", seed, r.Digest(), len(r.history.entries))
	}
}

// TestReplay: a seed's history is the same byte for byte, in another process and on any number of processors.
func TestReplay(t *testing.T) {
	digests := func(procs string) []string {
		cmd := exec.Command(os.Args[0], "-test.run", "^TestDigests$", "-digests", "-seed", fmt.Sprint(*flagSeed), "-seeds", fmt.Sprint(*flagReplay), "-runs", fmt.Sprint(*flagRuns))
		cmd.Env = append(os.Environ(), "GOMAXPROCS="+procs)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("GOMAXPROCS=%s: %v\n%s", procs, err, out)
		}
		var lines []string
		for line := range strings.Lines(string(out)) {
			if strings.HasPrefix(line, "digest ") {
				lines = append(lines, line)
			}
		}
		return lines
	}
	one, many, again := digests("1"), digests("8"), digests("2")
	if len(one) != *flagReplay {
		t.Fatalf("%d digests for %d seeds", len(one), *flagReplay)
	}
	differ := 0
	for i := range one {
		if one[i] != many[i] || one[i] != again[i] {
			differ++
			t.Errorf("on 1 processor  %son 8 processors %son 2 processors %s", one[i], many[i], again[i])
		}
	}
	t.Logf("%d of %d histories differ", differ, len(one))
}

// TestMutants: each planted bug is found. The closing evidence for 500 seeds is in LEDGER.md.
func TestMutants(t *testing.T) {
	for _, m := range []struct {
		name, invariant string
		mutants         engine.Mutants
	}{
		{"the fence is not compared", "only the leader writes", engine.Mutants{NoFence: true}},
		{"acknowledged before committed", "stored", engine.Mutants{EarlyAck: true}},
		{"released before committed", "no slot is booked twice", engine.Mutants{EarlyRelease: true}},
	} {
		t.Run(m.name, func(t *testing.T) {
			for seed := range uint64(500) {
				r := Run(t, Options{Seed: seed, Runs: *flagRuns, Mutants: m.mutants})
				if r.Err != nil {
					t.Fatal(r.Err)
				}
				if r.Violation == nil {
					continue
				}
				if !strings.Contains(r.Violation.Invariant, m.invariant) {
					t.Fatalf("seed %d found something else: %v\n%s", seed, r.Violation, r.History(60))
				}
				again := Run(t, Options{Seed: seed, Runs: *flagRuns, Mutants: m.mutants})
				if d := difference(r, again); d != "" || again.Violation == nil || again.Violation.Error() != r.Violation.Error() {
					t.Fatalf("seed %d does not fail the same way again: %v, then %v\n%s", seed, r.Violation, again.Violation, d)
				}
				t.Logf("seed %d: %v", seed, r.Violation)
				return
			}
			t.Fatal("not found in 500 seeds")
		})
	}
}

// TestTwice compares histories line by line, to find what differs.
func TestTwice(t *testing.T) {
	if !*flagDigests {
		t.Skip("only with -digests")
	}
	for seed := *flagSeed; seed < *flagSeed+uint64(*flagN); seed++ {
		a, b := Run(t, Options{Seed: seed, Runs: *flagRuns}), Run(t, Options{Seed: seed, Runs: *flagRuns})
		if d := difference(a, b); d != "" {
			t.Errorf("seed %d:\n%s", seed, d)
		}
	}
}
