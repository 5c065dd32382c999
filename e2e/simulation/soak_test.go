package simulation

import (
	"bufio"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"
)

var (
	flagSoak   = flag.String("soak", "", "append to this ledger what a soak of the seeds shows")
	flagCommit = flag.String("commit", "", "what is soaked")
	flagChunk  = flag.Uint64("chunk", 250, "seeds a line of the ledger")
	flagPart   = flag.Uint64("part", 0, "this process's part of the chunks")
	flagParts  = flag.Uint64("parts", 1, "processes")
)

// TestSoak simulates a range of seeds in chunks. A chunk that the ledger has for this commit is not done again; `make soak` runs it.
func TestSoak(t *testing.T) {
	if *flagSoak == "" {
		t.Skip("only with -soak LEDGER; see make soak")
	}
	done, err := chunksDone(*flagSoak, *flagCommit)
	if err != nil {
		t.Fatal(err)
	}
	for i := range uint64(*flagN) / *flagChunk {
		from := *flagSeed + i**flagChunk
		if i%*flagParts != *flagPart || done[span(from)] {
			continue
		}
		if err := soakChunk(t, from); err != nil {
			t.Fatal(err)
		}
	}
}

func span(from uint64) string { return fmt.Sprintf("%d–%d", from, from+*flagChunk-1) }

// chunksDone reads which spans of seeds a ledger has for a commit.
func chunksDone(path, commit string) (map[string]bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	out := map[string]bool{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if cells := strings.Split(lines.Text(), " | "); len(cells) > 2 && strings.TrimPrefix(cells[0], "| ") == commit {
			out[cells[1]] = true
		}
	}
	return out, nil
}

func soakChunk(t *testing.T, from uint64) error {
	t.Helper()
	began := time.Now()
	var runs, jobs, events, faults int
	var virtual time.Duration
	var bad []string
	kinds := map[string]bool{}
	for seed := from; seed < from+*flagChunk; seed++ {
		r := Run(t, Options{Seed: seed, Runs: *flagRuns})
		report(t, r)
		if r.Violation != nil {
			bad = append(bad, fmt.Sprint(seed))
		}
		runs, jobs, events, virtual = runs+r.Runs, jobs+r.Jobs, events+r.Events, virtual+r.Virtual
		for kind, n := range r.Kinds {
			kinds[kind] = true
			faults += n
		}
	}
	verdict := "0"
	if len(bad) > 0 {
		verdict = fmt.Sprintf("%d (seeds %s)", len(bad), strings.Join(bad, ", "))
	}
	f, err := os.OpenFile(*flagSoak, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "| %s | %s | %d | %d | %d | %.1f h | %d of %d kinds | %.0f s | %s |\n", *flagCommit, span(from), runs, jobs, events, virtual.Hours(), faults,
		len(kinds), time.Since(began).Seconds(), verdict)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}
