// Package retention shows that finished runs leave the store: real engine, real embedded etcd with fsync, real blobs, logs and index; one agent in
// the same process that ends every job at once.
package retention

import (
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/slipway-ci/slipway/coordinator/archive"
	"github.com/slipway-ci/slipway/coordinator/archive/archivetest"
	"github.com/slipway-ci/slipway/coordinator/blob/disk"
	"github.com/slipway-ci/slipway/coordinator/engine"
	"github.com/slipway-ci/slipway/coordinator/history"
	"github.com/slipway-ci/slipway/coordinator/logs"
	"github.com/slipway-ci/slipway/coordinator/maintain"
	"github.com/slipway-ci/slipway/coordinator/seal"
	"github.com/slipway-ci/slipway/coordinator/store/etcdstore"
	"github.com/slipway-ci/slipway/internal/clock"
	"github.com/slipway-ci/slipway/internal/id"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

const (
	// runsVariable says how many runs there are; 100000 is what the promise is about.
	runsVariable = "SLIPWAY_RETENTION_RUNS"
	someRuns     = 400
	// submitters at once, in so many projects.
	submitters, projects = 32, 3
	// most of the store that may be in use at any moment.
	most = 256 << 20
)

func count(t *testing.T) int {
	t.Helper()
	text := os.Getenv(runsVariable)
	if text == "" {
		return someRuns
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", runsVariable, err)
	}
	return n
}

func TestFinishedRunsLeaveTheStore(t *testing.T) {
	n := count(t)
	// Not in a deep directory: the embedded store has a unix socket in it.
	dir, err := os.MkdirTemp("", "slr")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	quiet := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	etcd, err := etcdstore.Start(t.Context(), etcdstore.EmbedConfig{Dir: filepath.Join(dir, "etcd"), Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = etcd.Close() }()
	blobs, err := disk.Open(filepath.Join(dir, "blobs"))
	if err != nil {
		t.Fatal(err)
	}
	log, err := logs.Open(filepath.Join(dir, "logs"), quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	index, err := history.Open(t.Context(), filepath.Join(dir, "history.db"), blobs, quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = index.Close() }()
	ids := id.NewSource(time.Now)
	var archiver *archive.Archiver
	house, err := archivetest.New(t.Context(), archivetest.Config{Store: etcd.Store(), Blobs: blobs, Logs: log, Clock: clock.Real{}, NewID: ids.New, Slog: quiet,
		History: index, Key: "/slipway/v1/leader/one", Sealer: func(run string, ms int64) { archiver.Ended(run, ms) }})
	if err != nil {
		t.Fatal(err)
	}
	archiver = archive.New(archive.Config{Store: etcd.Store(), Fence: house.Term.Fence(), Blobs: blobs, Logs: log, Index: index, Clock: clock.Real{}, NewID: ids.New, Log: quiet, Delay: time.Second})

	ctx, stop := context.WithCancel(t.Context())
	var beside errgroup.Group
	beside.Go(func() error { return archiver.Run(ctx) })
	keeper := maintain.New(etcd.Database(), clock.Real{}, quiet, nil)
	beside.Go(func() error { keeper.Run(ctx); return nil })
	var peak atomic.Int64
	beside.Go(func() error { return watchSize(ctx, etcd.Database(), &peak) })
	defer func() {
		stop()
		if err := beside.Wait(); err != nil {
			t.Error(err)
		}
		house.Close()
	}()

	began := time.Now()
	finish(t, house, n)
	ended := time.Since(began)
	awaitSealed(t, house)
	took := time.Since(began)

	check(t, house, index, n)
	status, err := etcd.Database().Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d runs finished in %v and were sealed in %v; etcd in use: at most %.1f MiB, now %.1f MiB, its file %.1f MiB; beside it %s", n, ended.Round(time.Second), took.Round(time.Second),
		mib(peak.Load()), mib(status.InUse), mib(status.Size), sizes(t, dir))
	if peak.Load() > most {
		t.Errorf("%d bytes of etcd were in use, want at most %d", peak.Load(), most)
	}
}

// finish runs n runs of one job to their end.
func finish(t *testing.T, house *archivetest.House, n int) {
	t.Helper()
	group, ctx := errgroup.WithContext(t.Context())
	var next atomic.Int64
	for range submitters {
		group.Go(func() error {
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				if _, err := house.Finish(ctx, fmt.Sprintf("project%d", i%projects), "refs/heads/main", archivetest.Plan("ci", "only")); err != nil {
					return fmt.Errorf("run %d: %w", i, err)
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

// watchSize remembers the most that was in use.
func watchSize(ctx context.Context, db maintain.Database, peak *atomic.Int64) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		s, err := db.Status(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		peak.Store(max(peak.Load(), s.InUse))
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// awaitSealed waits until the store has no run.
func awaitSealed(t *testing.T, house *archivetest.House) {
	t.Helper()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		left := 0
		if err := engine.EachRun(t.Context(), house.Store, func(*statev1.RunHeader) error { left++; return nil }); err != nil {
			t.Fatal(err)
		}
		if left == 0 {
			return
		}
		<-tick.C
	}
}

// check walks the chains, and holds the listing against them.
func check(t *testing.T, house *archivetest.House, index *history.History, n int) {
	t.Helper()
	chains, err := engine.Chains(t.Context(), house.Store)
	if err != nil {
		t.Fatal(err)
	}
	bundles := 0
	for _, chain := range chains {
		digest := chain.Head.GetBundle()
		for w := seal.Walk(chain.Head); ; bundles++ {
			if _, _, done := w.Next(); done {
				break
			}
			b, _, err := history.ReadBundle(t.Context(), house.Blobs, digest)
			if err != nil {
				t.Fatal(err)
			}
			if err := w.Bundle(b, digest); err != nil {
				t.Fatal(err)
			}
			digest = b.GetPrevious()
		}
	}
	size, err := index.Size(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	listed := 0
	for q := (engine.RunQuery{Limit: engine.MaxRuns}); ; {
		began := time.Now()
		runs, next, err := house.Engine.List(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if listed == 0 {
			t.Logf("the newest %d runs are listed in %v", len(runs), time.Since(began).Round(time.Millisecond))
		}
		listed += len(runs)
		if next == "" {
			break
		}
		q.Before = next
	}
	again, err := history.Open(t.Context(), filepath.Join(t.TempDir(), "again.db"), house.Blobs, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = again.Close() }()
	heads := map[string]*statev1.ChainHead{}
	for project, chain := range chains {
		heads[project] = chain.Head
	}
	began := time.Now()
	rebuilt, err := again.Follow(t.Context(), heads)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the index is made again at %.0f runs a second", float64(rebuilt)/time.Since(began).Seconds())
	if same, err := again.Size(t.Context()); err != nil || same != size {
		t.Errorf("the index that is made again has %+v, %v; want %+v", same, err, size)
	}
	if bundles != n || size.Runs != int64(n) || listed != n {
		t.Errorf("%d runs: %d bundles in the chains, %d in the index, %d listed", n, bundles, size.Runs, listed)
	}
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }

// sizes of what lies in the data directory.
func sizes(t *testing.T, dir string) string {
	t.Helper()
	out := ""
	for _, part := range []string{"blobs", "logs", "history.db"} {
		sum, files := int64(0), 0
		err := filepath.WalkDir(filepath.Join(dir, part), func(_ string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			info, err := d.Info()
			if err == nil {
				sum += info.Size()
				files++
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		out += fmt.Sprintf("%s %.1f MiB in %d files; ", part, mib(sum), files)
	}
	return out
}
