package faults

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	"github.com/slipway-ci/slipway/sdk/client"
)

// patience bounds a wave: a few seconds of work, and restarts, on a machine that may be busy with other things.
const patience = 5 * time.Minute

// TestKills is a wave of jobs and kills for each seed.
func TestKills(t *testing.T) {
	first, last, err := parseSeeds(*seedRange)
	if err != nil {
		t.Fatal(err)
	}
	var version struct{ Version string }
	if err := sys.JSON(t.Context(), &version, "version"); err != nil {
		t.Fatal(err)
	}
	cl, err := sys.Client()
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Release()
	leaks := sys.Leaks()
	done := newTally(version.Version, first, last)
	for seed := first; seed <= last; seed++ {
		w := newWave(seed)
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			t.Log(w)
			done.wave(runWave(t, cl, w))
			if err := leaks.OfJobs(); err != nil {
				t.Error(err)
			}
			if t.Failed() {
				done.failed(seed)
			}
		})
	}
	t.Log(done)
	if err := done.append(*ledger); err != nil {
		t.Error(err)
	}
}

// runWave submits the jobs, kills, and checks all that came of it. It returns what was killed.
func runWave(t *testing.T, cl *client.Client, w wave) (map[target]int, int) {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	began := time.Now()
	var ids []string
	for _, s := range w.jobs {
		res, err := cl.Submit(ctx, &apiv1.SubmitRunRequest{Project: "faults", Path: s.name + ".yml", Workflow: s.workflow(), Event: "push"})
		if err != nil {
			t.Fatalf("submitting %s: %v", s.name, err)
		}
		ids = append(ids, res.GetRunId())
	}
	ended := make(chan struct{})
	var killers, watchers sync.WaitGroup
	shot := &killed{by: map[target]int{}}
	for _, k := range w.kills {
		killers.Go(func() { shot.kill(ctx, t, k, began, ended) })
	}
	runs := make([]*apiv1.Run, len(ids))
	for i, id := range ids {
		watchers.Go(func() {
			if err := cl.Watch(ctx, id, func(r *apiv1.Run) error { runs[i] = r; return nil }); err != nil {
				t.Errorf("%s, run %s: %v; it was last %v", w.jobs[i].name, id, err, runs[i])
			}
		})
	}
	watchers.Wait()
	close(ended)
	killers.Wait()
	healthy(ctx, t)
	lost := 0
	for i, run := range runs {
		if run != nil && ctx.Err() == nil {
			lost += check(ctx, t, cl, w.jobs[i], run, shot.by)
		}
	}
	if lost > shot.by[shim] {
		t.Errorf("%d jobs were lost, and only %d shims killed", lost, shot.by[shim])
	}
	return shot.by, len(ids)
}

// healthy waits until what was killed is back.
func healthy(ctx context.Context, t *testing.T) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for err := sys.Healthy(ctx); err != nil; err = sys.Healthy(ctx) {
		select {
		case <-ctx.Done():
			t.Fatal(err)
		case <-tick.C:
		}
	}
}
