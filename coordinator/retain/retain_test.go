package retain_test

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/slipway-ci/slipway/coordinator/archive"
	"github.com/slipway-ci/slipway/coordinator/archive/archivetest"
	"github.com/slipway-ci/slipway/coordinator/backup"
	"github.com/slipway-ci/slipway/coordinator/blob/disk"
	"github.com/slipway-ci/slipway/coordinator/engine"
	"github.com/slipway-ci/slipway/coordinator/history"
	"github.com/slipway-ci/slipway/coordinator/logs"
	"github.com/slipway-ci/slipway/coordinator/retain"
	"github.com/slipway-ci/slipway/coordinator/store/memstore"
	"github.com/slipway-ci/slipway/internal/clock"
	"github.com/slipway-ci/slipway/internal/id"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// rig is a coordinator without a network. Its clock begins at the real time, as files have it.
type rig struct {
	*archivetest.House
	t        *testing.T
	dir      string
	clock    *clock.Fake
	blobs    *disk.Store
	history  *history.History
	archiver *archive.Archiver
	keep     retain.Keep
	quota    int64
	fail     func(retain.Point) error
}

func newRig(t *testing.T) *rig {
	t.Helper()
	dir := t.TempDir()
	r := &rig{t: t, dir: dir, clock: clock.NewFake(time.Now())}
	var err error
	if r.blobs, err = disk.Open(filepath.Join(dir, "blobs")); err != nil {
		t.Fatal(err)
	}
	log, err := logs.Open(filepath.Join(dir, "logs"), quiet)
	if err != nil {
		t.Fatal(err)
	}
	if r.history, err = history.Open(t.Context(), filepath.Join(dir, "history.db"), r.blobs, quiet); err != nil {
		t.Fatal(err)
	}
	newID := id.NewSource(r.clock.Now).New
	s := memstore.New()
	r.House, err = archivetest.New(t.Context(), archivetest.Config{Store: s, Blobs: r.blobs, Logs: log, Clock: r.clock, NewID: newID, Slog: quiet, History: r.history,
		Key: "/slipway/v1/leader/test", Sealer: func(run string, ms int64) { r.archiver.Ended(run, ms) }})
	if err != nil {
		t.Fatal(err)
	}
	r.archiver = archive.New(archive.Config{Store: s, Fence: r.Term.Fence(), Blobs: r.blobs, Logs: log, Index: r.history, Clock: r.clock, NewID: newID, Log: quiet})
	t.Cleanup(func() { r.Close(); _ = log.Close(); _ = r.history.Close() })
	return r
}

// retainer of a new process, which remembers nothing.
func (r *rig) retainer() *retain.Retainer {
	return retain.New(retain.Config{Store: r.Store, Fence: r.Term.Fence(), Blobs: r.blobs, Logs: r.Logs, History: r.history, Clock: r.clock, NewID: r.NewID, Log: quiet,
		Keep: func(string) retain.Keep { return r.keep }, Quota: r.quota, Failpoint: func(p retain.Point) error {
			if r.fail == nil {
				return nil
			}
			return r.fail(p)
		}})
}

// finish ends and seals n runs, one a day, each with an artifact of its own.
func (r *rig) finish(n int) []string { return r.finishOf("p", n) }

func (r *rig) finishOf(project string, n int) []string {
	r.t.Helper()
	var ids []string
	for i := range n {
		r.Artifact = func(job string) []byte { return fmt.Appendf(nil, "artifact %d of %s", i, job) }
		runID, err := r.Finish(r.t.Context(), project, "refs/heads/main", archivetest.Plan("ci", "a"))
		if err != nil {
			r.t.Fatal(err)
		}
		ids = append(ids, runID)
		r.clock.Advance(2 * time.Minute)
		if n, _, err := r.archiver.Step(r.t.Context()); err != nil || n != 1 {
			r.t.Fatal(n, err)
		}
		r.clock.Advance(24*time.Hour - 2*time.Minute)
	}
	return ids
}

// step looks as often as it takes until what nothing needs is gone.
func (r *rig) step(x *retain.Retainer) {
	r.t.Helper()
	for range 3 {
		if err := x.Step(r.t.Context()); err != nil {
			r.t.Fatal(err)
		}
		r.clock.Advance(2 * time.Hour)
	}
}

// check holds everything against itself.
func (r *rig) check() backup.Report {
	r.t.Helper()
	report, err := backup.Check(r.t.Context(), backup.Target{Store: r.Store, Blobs: r.blobs, Index: r.history, Now: r.clock.Now()})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range report.Findings {
		r.t.Errorf("%s: %s (%s)", f.Where, f.What, f.Do)
	}
	return report
}

func (r *rig) listed() int {
	r.t.Helper()
	runs, _, err := r.Engine.List(r.t.Context(), engine.RunQuery{Limit: 1000})
	if err != nil {
		r.t.Fatal(err)
	}
	return len(runs)
}

func TestWhatExpiresLeavesATombstoneAndNoBlob(t *testing.T) {
	r := newRig(t)
	ids := r.finish(10)
	r.keep = retain.Keep{Runs: 4}
	before := r.check()
	r.step(r.retainer())
	after := r.check()
	if r.listed() != 4 || after.Bundles != 4 || after.Tombstones != 6 || after.Unreferenced != 0 {
		t.Errorf("%d listed, %+v", r.listed(), after)
	}
	// Three days after their runs the artifacts go, too.
	if before.Blobs <= after.Blobs {
		t.Errorf("%d blobs before, %d after", before.Blobs, after.Blobs)
	}
	if _, err := r.Engine.Run(t.Context(), ids[0]); err == nil {
		t.Error("an expired run is shown")
	}
	// The chain goes on, and expires on.
	r.finish(3)
	r.step(r.retainer())
	if last := r.check(); last.Bundles != 4 || last.Tombstones != 9 || r.listed() != 4 {
		t.Errorf("%d listed, %+v", r.listed(), last)
	}
	if runs, err := r.Logs.Runs(); err != nil || len(runs) > 0 {
		t.Errorf("logs of sealed and expired runs are left: %v, %v", runs, err)
	}
}

func TestACrashWhileRunsExpireIsResumed(t *testing.T) {
	for _, point := range retain.Points {
		t.Run(string(point), func(t *testing.T) {
			r := newRig(t)
			r.finish(5)
			r.keep = retain.Keep{Days: 2}
			crash := errors.New("crash")
			r.fail = func(p retain.Point) error {
				if p == point {
					return crash
				}
				return nil
			}
			if err := r.retainer().Step(t.Context()); !errors.Is(err, crash) {
				t.Fatalf("no crash: %v", err)
			}
			r.fail = nil
			chains, err := engine.Chains(t.Context(), r.Store)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.history.Follow(t.Context(), heads(chains)); err != nil {
				t.Fatal(err)
			}
			r.check()
			r.step(r.retainer())
			if report := r.check(); report.Bundles+report.Tombstones != 5 || report.Bundles > 2 || r.listed() != report.Bundles || report.Unreferenced != 0 {
				t.Errorf("%d listed, %+v", r.listed(), report)
			}
		})
	}
}

func TestWhatIsBeingUploadedIsLeftAlone(t *testing.T) {
	r := newRig(t)
	forgotten, err := r.put("a tree that nobody names")
	if err != nil {
		t.Fatal(err)
	}
	named, err := r.put("a tree that somebody names after a while")
	if err != nil {
		t.Fatal(err)
	}
	x := r.retainer()
	there := func(digest string) bool {
		t.Helper()
		if err := x.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
		_, _, err := r.blobs.Open(t.Context(), digest)
		return err == nil
	}
	for range 2 {
		if !there(forgotten) || !there(named) {
			t.Fatal("an upload was removed within its grace")
		}
		r.clock.Advance(25 * time.Minute)
	}
	s, err := r.Submission(t.Context(), "p", "refs/heads/main", archivetest.Plan("ci", "a"))
	if err != nil {
		t.Fatal(err)
	}
	s.Source.Tree = named
	if _, _, err := r.Engine.Submit(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	r.clock.Advance(15 * time.Minute)
	if there(forgotten) || !there(named) {
		t.Error("what nothing needs is still there, or what a run needs is not")
	}
}

func TestTheQuotaRemovesTheOldest(t *testing.T) {
	r := newRig(t)
	r.finish(6)
	r.quota = 1
	r.step(r.retainer())
	if report := r.check(); report.Bundles != 0 || report.Tombstones != 6 {
		t.Errorf("%+v", report)
	}
}

func heads(chains map[string]engine.Chain) map[string]*statev1.ChainHead {
	out := map[string]*statev1.ChainHead{}
	for project, c := range chains {
		out[project] = c.Head
	}
	return out
}

func (r *rig) put(text string) (string, error) {
	digest, _, err := r.blobs.Put(r.t.Context(), strings.NewReader(text))
	return digest, err
}
