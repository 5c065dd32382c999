package retain_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/coordinator/blob"
	"github.com/slipway-ci/slipway/coordinator/history"
	"github.com/slipway-ci/slipway/coordinator/retain"
)

// file of a blob.
func (r *rig) file(digest string) string {
	sum := strings.TrimPrefix(digest, blob.Prefix)
	return filepath.Join(r.dir, "blobs", "sha256", sum[:2], sum)
}

// rows of a project in the index, oldest first.
func (r *rig) rows(project string) []history.Row {
	r.t.Helper()
	all, err := r.history.Rows(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(row history.Row) bool { return row.Project != project })
}

func TestADamagedBundleStopsNothingElse(t *testing.T) {
	r := newRig(t)
	damagedRun := r.finishOf("a", 5)[1]
	for _, project := range []string{"b", "c", "d"} {
		r.finishOf(project, 5)
	}
	whole := r.file(r.rows("a")[1].Bundle)
	bytes, err := os.ReadFile(whole)
	if err == nil {
		err = errors.Join(os.Remove(whole), os.WriteFile(whole, []byte("damaged"), 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
	forgotten, err := r.put("what nothing needs")
	if err != nil {
		t.Fatal(err)
	}
	r.keep = retain.Keep{Runs: 2}
	x := r.retainer()
	for range 3 {
		if err := x.Step(t.Context()); !errors.Is(err, blob.ErrCorrupt) || !strings.Contains(err.Error(), damagedRun) {
			t.Errorf("the damage is not told: %v", err)
		}
		r.clock.Advance(2 * time.Hour)
	}
	for project, want := range map[string]int{"a": 4, "b": 2, "c": 2, "d": 2} {
		if got := len(r.rows(project)); got != want {
			t.Errorf("project %s has %d runs, not %d", project, got, want)
		}
	}
	if left, err := r.Logs.Runs(); err != nil || !slices.Equal(left, []string{damagedRun}) {
		t.Errorf("logs of %v are left instead of only %s, %v", left, damagedRun, err)
	}
	if _, _, err := r.blobs.Open(t.Context(), forgotten); !errors.Is(err, blob.ErrNotFound) {
		t.Errorf("what nothing needs is still there: %v", err)
	}
	// Restored, it goes as the others went.
	if err := os.WriteFile(whole, bytes, 0o600); err != nil {
		t.Fatal(err)
	}
	r.step(x)
	if report := r.check(); report.Bundles != 8 || report.Tombstones != 12 {
		t.Errorf("%+v", report)
	}
}

func TestNothingExpiresPastAHoleInTheIndex(t *testing.T) {
	r := newRig(t)
	r.finish(5)
	if err := r.history.Forget(t.Context(), "p", 2); err != nil {
		t.Fatal(err)
	}
	r.keep = retain.Keep{Runs: 1}
	if err := r.retainer().Step(t.Context()); err == nil {
		t.Error("the hole is not told")
	}
	if got := len(r.rows("p")); got != 3 {
		t.Errorf("%d of 3 runs are left", got)
	}
}
