package archive_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/slipway-ci/slipway/coordinator/archive"
	"github.com/slipway-ci/slipway/coordinator/archive/archivetest"
	"github.com/slipway-ci/slipway/coordinator/blob/disk"
	"github.com/slipway-ci/slipway/coordinator/engine"
	"github.com/slipway-ci/slipway/coordinator/history"
	"github.com/slipway-ci/slipway/coordinator/logs"
	"github.com/slipway-ci/slipway/coordinator/seal"
	"github.com/slipway-ci/slipway/coordinator/store"
	"github.com/slipway-ci/slipway/coordinator/store/faultstore"
	"github.com/slipway-ci/slipway/coordinator/store/memstore"
	"github.com/slipway-ci/slipway/internal/clock"
	"github.com/slipway-ci/slipway/internal/id"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a coordinator without a network.
type rig struct {
	*archivetest.House
	t        *testing.T
	dir      string
	clock    *clock.Fake
	store    *faultstore.Store
	history  *history.History
	archiver *archive.Archiver
	// damage the index before the next term.
	damage bool
	fail   func(archive.Point) error
	conf   archivetest.Config
}

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func newRig(t *testing.T) *rig {
	t.Helper()
	c := clock.NewFake(time.UnixMilli(1_700_000_000_000))
	r := &rig{t: t, dir: t.TempDir(), clock: c, store: faultstore.New(memstore.New())}
	blobs, err := disk.Open(filepath.Join(r.dir, "blobs"))
	if err != nil {
		t.Fatal(err)
	}
	log, err := logs.Open(filepath.Join(r.dir, "logs"), quiet)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	r.conf = archivetest.Config{Store: r.store, Blobs: blobs, Logs: log, Clock: c, NewID: id.NewSource(c.Now).New, Slog: quiet, Key: "/slipway/v1/leader/test"}
	r.lead()
	t.Cleanup(func() { r.Close(); _ = r.history.Close() })
	return r
}

// lead begins a term, as a new process would.
func (r *rig) lead() {
	r.t.Helper()
	if r.House != nil {
		r.Close()
		if err := r.history.Close(); err != nil {
			r.t.Fatal(err)
		}
	}
	path := filepath.Join(r.dir, "history.db")
	if r.damage {
		if err := os.WriteFile(path, []byte("no index"), 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
	var err error
	if r.history, err = history.Open(r.t.Context(), path, r.conf.Blobs, quiet); err != nil {
		r.t.Fatal(err)
	}
	conf := r.conf
	conf.History = r.history
	conf.Sealer = func(runID string, ms int64) { r.archiver.Ended(runID, ms) }
	if r.House, err = archivetest.New(r.t.Context(), conf); err != nil {
		r.t.Fatal(err)
	}
	r.archiver = archive.New(r.archiverConfig())
	if _, err := r.history.Follow(r.t.Context(), r.heads()); err != nil {
		r.t.Fatal(err)
	}
	if err := r.archiver.Load(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) archiverConfig() archive.Config {
	return archive.Config{Store: r.store, Fence: r.Term.Fence(), Blobs: r.Blobs, Logs: r.Logs, Index: r.history, Clock: r.clock, NewID: r.NewID, Log: quiet,
		Failpoint: func(p archive.Point) error {
			if r.fail == nil {
				return nil
			}
			return r.fail(p)
		}}
}

func (r *rig) heads() map[string]*statev1.ChainHead {
	r.t.Helper()
	chains, err := engine.Chains(r.t.Context(), r.store)
	if err != nil {
		r.t.Fatal(err)
	}
	heads := map[string]*statev1.ChainHead{}
	for p, c := range chains {
		heads[p] = c.Head
	}
	return heads
}

func (r *rig) finish(project, ref string, jobs ...string) string {
	r.t.Helper()
	runID, err := r.Finish(r.t.Context(), project, ref, archivetest.Plan("ci", jobs...))
	if err != nil {
		r.t.Fatal(err)
	}
	return runID
}

// seal seals all that is due a minute from now.
func (r *rig) seal() int {
	r.t.Helper()
	r.clock.Advance(time.Minute + time.Second)
	return r.sealDue()
}

func (r *rig) sealDue() int {
	r.t.Helper()
	total := 0
	for {
		n, _, err := r.archiver.Step(r.t.Context())
		if err != nil {
			r.t.Fatal(err)
		}
		if n == 0 {
			return total
		}
		total += n
	}
}

// inStore are the keys of runs that the store has.
func (r *rig) inStore() []string {
	r.t.Helper()
	kvs, _, err := r.store.Range(r.t.Context(), "/slipway/v1/", store.PrefixEnd("/slipway/v1/"), 0)
	if err != nil {
		r.t.Fatal(err)
	}
	var out []string
	for _, kv := range kvs {
		kind := strings.Split(kv.Key, "/")[3]
		if slices.Contains([]string{"run", "def", "job", "live", "newest", "num"}, kind) {
			out = append(out, kv.Key)
		}
	}
	return out
}

// check walks all chains and says how many bundles there are.
func (r *rig) check() int {
	r.t.Helper()
	total := 0
	for _, head := range r.heads() {
		digest := head.GetBundle()
		for w := seal.Walk(head); ; total++ {
			if _, _, done := w.Next(); done {
				break
			}
			b, _, err := history.ReadBundle(r.t.Context(), r.Blobs, digest)
			if err != nil {
				r.t.Fatal(err)
			}
			if err := w.Bundle(b, digest); err != nil {
				r.t.Fatal(err)
			}
			digest = b.GetPrevious()
		}
	}
	return total
}

func (r *rig) run(name string) *apiv1.Run {
	r.t.Helper()
	run, err := r.Engine.Run(r.t.Context(), name)
	if err != nil {
		r.t.Fatal(err)
	}
	return run
}

// sealedLogs is job → log.
func (r *rig) sealedLogs(runID string) map[string]string {
	r.t.Helper()
	b, err := r.history.Sealed(r.t.Context(), runID)
	if err != nil || b == nil {
		r.t.Fatal(b, err)
	}
	out := map[string]string{}
	for _, l := range b.GetLogs().GetLogs() {
		rd, err := r.history.OpenLog(r.t.Context(), b, l)
		if err != nil {
			r.t.Fatal(err)
		}
		text, err := io.ReadAll(rd)
		if err != nil {
			r.t.Fatal(err)
		}
		_ = rd.Close()
		out[l.GetJobId()] = string(text)
	}
	return out
}

func TestASealedRunLooksAsBefore(t *testing.T) {
	r := newRig(t)
	r.Artifact = func(job string) []byte { return []byte("artifact of " + job) }
	runID := r.finish("team/app", "refs/heads/main", "a", "b")
	before, err := r.Engine.Run(t.Context(), runID)
	if err != nil {
		t.Fatal(err)
	}
	why, err := r.Engine.Why(t.Context(), runID, "a")
	if err != nil {
		t.Fatal(err)
	}
	if n := r.sealDue(); n != 0 {
		t.Fatalf("%d runs were sealed at once", n)
	}
	if n := r.seal(); n != 1 {
		t.Fatalf("%d runs were sealed", n)
	}
	if left := r.inStore(); len(left) > 0 {
		t.Fatalf("left in the store: %v", left)
	}
	for _, name := range []string{runID, runID[:20], "#1"} {
		if after := r.run(name); !proto.Equal(before, after) {
			t.Errorf("%s:\n%v\nwas\n%v", name, after, before)
		}
	}
	if again, err := r.Engine.Why(t.Context(), runID, "a"); err != nil || !proto.Equal(why, again) {
		t.Errorf("%v, %v; was %v", again, err, why)
	}
	if logs := r.sealedLogs(runID); len(logs) != 2 || logs["a"] != "this is job a\n" {
		t.Errorf("logs: %v", logs)
	}
	changes, err := r.Engine.Watch(t.Context(), runID)
	if err != nil {
		t.Fatal(err)
	}
	if run := <-changes; run.GetState() != before.GetState() {
		t.Errorf("watched: %v", run)
	}
	// Numbers go on, also in the next term.
	r.lead()
	if next := r.run(r.finish("team/app", "refs/heads/main", "a")); next.GetNumber() != 2 {
		t.Errorf("the next run is #%d", next.GetNumber())
	}
}

func TestLargeLogsAreBlobsAndLogsThatComeLateAreWaitedFor(t *testing.T) {
	r := newRig(t)
	line := strings.Repeat("0123456789abcdef", 7)
	r.House.Log = func(job string) []byte {
		var b bytes.Buffer
		for i := range 60_000 {
			fmt.Fprintf(&b, "%s %d %s %x\n", job, i, line, i*i*7919)
		}
		return b.Bytes()
	}
	large := r.finish("p", "", "a", "b")
	r.Silent = true
	late := r.finish("p", "", "c")
	r.Silent = false
	if n := r.seal(); n != 2 || len(r.inStore()) == 0 {
		t.Fatalf("%d were looked at, the store has %v", n, r.inStore())
	}
	b, err := r.history.Sealed(t.Context(), large)
	if err != nil || b.GetLogs().GetDigest() == "" || b.GetLogs().GetSize() == 0 {
		t.Fatalf("%v, %v", b.GetLogs(), err)
	}
	if logs := r.sealedLogs(large); logs["a"] != string(r.House.Log("a")) || logs["b"] != string(r.House.Log("b")) {
		t.Error("the logs are other bytes")
	}
	// It is sealed in the end, with a gap that says how large it is.
	r.clock.Advance(24 * time.Hour)
	r.seal()
	if left := r.inStore(); len(left) > 0 {
		t.Fatalf("left in the store: %v", left)
	}
	b, err = r.history.Sealed(t.Context(), late)
	if err != nil || len(b.GetLogs().GetLogs()) != 1 || b.GetLogs().GetLogs()[0].GetMissing() != int64(len(r.House.Log("c"))) {
		t.Errorf("%v, %v", b.GetLogs(), err)
	}
}

// A crash anywhere leaves every run in the store or in the chain, never in neither, and in no listing twice.
func TestACrashAnywhereIsResumed(t *testing.T) {
	for _, point := range archive.Points {
		for _, index := range []string{"kept", "lost"} {
			t.Run(string(point)+"/"+index, func(t *testing.T) {
				r := newRig(t)
				var ids []string
				for i := range 5 {
					ids = append(ids, r.finish("p"+fmt.Sprint(i%2), "refs/heads/main", "a", "b"))
				}
				r.clock.Advance(2 * time.Minute)
				crash := errors.New("crash")
				r.fail = func(p archive.Point) error {
					if p == point {
						return crash
					}
					return nil
				}
				if _, _, err := r.archiver.Step(t.Context()); !errors.Is(err, crash) {
					t.Fatalf("no crash: %v", err)
				}
				r.fail = nil
				r.sees(ids)
				if index == "lost" {
					r.damage = true
				}
				r.lead()
				r.sees(ids)
				more := r.finish("p0", "refs/heads/main", "a")
				r.seal()
				r.sees(append(ids, more))
				if n := r.check(); n != 6 {
					t.Errorf("%d bundles in the chains", n)
				}
				if left := r.inStore(); len(left) > 0 {
					t.Errorf("left in the store: %v", left)
				}
			})
		}
	}
}

// sees says whether all runs are listed once, newest first, over several pages.
func (r *rig) sees(ids []string) {
	r.t.Helper()
	var got []string
	for q := (engine.RunQuery{Limit: 2}); ; {
		runs, next, err := r.Engine.List(r.t.Context(), q)
		if err != nil {
			r.t.Fatal(err)
		}
		for _, run := range runs {
			got = append(got, run.GetId())
		}
		if next == "" {
			break
		}
		q.Before = next
	}
	want := slices.Clone(ids)
	slices.Sort(want)
	slices.Reverse(want)
	if !slices.Equal(got, want) {
		r.t.Fatalf("listed %v, want %v", got, want)
	}
	for _, runID := range ids {
		if run := r.run(runID); len(run.GetJobs()) == 0 {
			r.t.Fatalf("run %s has no jobs", runID)
		}
	}
}

func TestAnUnknownOutcomeIsSettled(t *testing.T) {
	for _, fault := range []faultstore.Fault{faultstore.UnknownDone, faultstore.UnknownLost, faultstore.UnknownLater, faultstore.Refused} {
		r := newRig(t)
		runID := r.finish("p", "", "a")
		r.clock.Advance(2 * time.Minute)
		r.store.Plan(fault)
		_, _, err := r.archiver.Step(t.Context())
		if (err == nil) != (fault == faultstore.UnknownDone) {
			t.Fatalf("fault %d: %v", fault, err)
		}
		for range 3 {
			r.clock.Advance(time.Minute)
			_, _, _ = r.archiver.Step(t.Context())
		}
		if n := r.check(); n != 1 || len(r.inStore()) > 0 || r.run(runID).GetState() != corev1.RunState_RUN_STATE_SUCCEEDED {
			t.Fatalf("fault %d: %d bundles, store %v", fault, n, r.inStore())
		}
	}
}

func TestAFormerLeaderSealsNothing(t *testing.T) {
	r := newRig(t)
	runID := r.finish("p", "", "a")
	old := r.archiver
	r.lead()
	r.clock.Advance(2 * time.Minute)
	if _, _, err := old.Step(t.Context()); err == nil || len(r.inStore()) == 0 {
		t.Fatalf("%v, store %v", err, r.inStore())
	}
	r.sees([]string{runID})
	r.seal()
	r.sees([]string{runID})
}

func TestFilters(t *testing.T) {
	r := newRig(t)
	main := r.finish("p", "refs/heads/main", "a")
	r.Result = corev1.Result_RESULT_FAILURE
	tag := r.finish("p", "refs/tags/v1", "a")
	r.Result = corev1.Result_RESULT_SUCCESS
	r.seal()
	r.clock.Advance(time.Hour)
	other := r.finish("q", "refs/heads/main", "a")
	late := r.clock.Now().UnixMilli()
	for _, c := range []struct {
		q    engine.RunQuery
		want []string
	}{
		{engine.RunQuery{}, []string{other, tag, main}},
		{engine.RunQuery{Project: "p"}, []string{tag, main}},
		{engine.RunQuery{Branch: "main"}, []string{other, main}},
		{engine.RunQuery{Branch: "refs/tags/v1"}, []string{tag}},
		{engine.RunQuery{Pipeline: "ci"}, []string{other, tag, main}},
		{engine.RunQuery{Pipeline: "ci.yml", Project: "q"}, []string{other}},
		{engine.RunQuery{Pipeline: "no"}, nil},
		{engine.RunQuery{Commit: "abc0"}, []string{other, tag, main}},
		{engine.RunQuery{Commit: "abd"}, nil},
		{engine.RunQuery{Actor: "ada", States: []corev1.RunState{corev1.RunState_RUN_STATE_FAILED}}, []string{tag}},
		{engine.RunQuery{Actor: "bob"}, nil},
		{engine.RunQuery{SinceMS: late}, []string{other}},
		{engine.RunQuery{UntilMS: late}, []string{tag, main}},
		{engine.RunQuery{Before: tag}, []string{main}},
		{engine.RunQuery{Limit: 1}, []string{other}},
	} {
		runs, _, err := r.Engine.List(t.Context(), c.q)
		var got []string
		for _, run := range runs {
			got = append(got, run.GetId())
		}
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("%+v: %v, %v; want %v", c.q, got, err, c.want)
		}
	}
}
