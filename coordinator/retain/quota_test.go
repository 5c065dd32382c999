package retain_test

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/coordinator/archive/archivetest"
	"github.com/slipway-ci/slipway/coordinator/blob"
	"github.com/slipway-ci/slipway/coordinator/retain"
)

// full has n sealed runs, each with an artifact of 1 MiB of its own, and a quota of 100 bytes less than they take.
func (r *rig) full(n int) {
	r.t.Helper()
	random := rand.NewChaCha8([32]byte{})
	for range n {
		data := make([]byte, 1<<20)
		_, _ = random.Read(data)
		r.Artifact = func(string) []byte { return data }
		if _, err := r.Finish(r.t.Context(), "p", "refs/heads/main", archivetest.Plan("ci", "a")); err != nil {
			r.t.Fatal(err)
		}
		r.clock.Advance(2 * time.Minute)
		if n, _, err := r.archiver.Step(r.t.Context()); err != nil || n != 1 {
			r.t.Fatal(n, err)
		}
	}
	r.step(r.retainer()) // without a quota: what nothing needs goes
	r.quota = r.stored() - 100
	if r.quota < int64(n)<<20 {
		r.t.Fatalf("%d runs of 1 MiB take %d bytes", n, r.quota)
	}
}

// stored is how many bytes of blobs there are.
func (r *rig) stored() (sum int64) {
	r.t.Helper()
	if err := r.blobs.Each(r.t.Context(), func(i blob.Info) error { sum += i.Size; return nil }); err != nil {
		r.t.Fatal(err)
	}
	return sum
}

func TestTheQuotaTakesNoMoreThanItMust(t *testing.T) {
	for _, restarted := range []bool{false, true} {
		r := newRig(t)
		r.full(20)
		x := r.retainer()
		// Every 10 minutes, past the grace of an hour.
		for range 12 {
			if restarted {
				x = r.retainer()
			}
			if err := x.Step(t.Context()); err != nil {
				t.Fatal(err)
			}
			r.clock.Advance(10 * time.Minute)
		}
		if report := r.check(); report.Bundles != 19 || report.Tombstones != 1 || r.listed() != 19 {
			t.Errorf("restarted %v: %+v", restarted, report)
		}
		if !restarted && r.stored() > r.quota {
			t.Errorf("%d bytes are stored, past a quota of %d", r.stored(), r.quota)
		}
	}
}

func TestTheQuotaTakesNothingWhileTheIndexIsNotComplete(t *testing.T) {
	r := newRig(t)
	r.full(5)
	if err := r.history.Forget(t.Context(), "p", 2); err != nil {
		t.Fatal(err)
	}
	x := r.retainer()
	for range 3 {
		if err := x.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.clock.Advance(10 * time.Minute)
	}
	if rows, err := r.history.Rows(t.Context()); err != nil || len(rows) != 3 {
		t.Errorf("%d of 3 runs are left, %v", len(rows), err)
	}
}

func TestWhatWasNotForgottenDoesNotCount(t *testing.T) {
	r := newRig(t)
	r.full(4)
	crash := errors.New("crash")
	r.fail = func(p retain.Point) error {
		if p == retain.AfterCommit {
			return crash
		}
		return nil
	}
	if err := r.retainer().Step(t.Context()); !errors.Is(err, crash) {
		t.Fatalf("no crash: %v", err)
	}
	r.fail = nil
	// The same process goes on: nobody follows the chains.
	x := r.retainer()
	for range 12 {
		if err := x.Step(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.clock.Advance(10 * time.Minute)
	}
	if report := r.check(); report.Bundles != 3 || r.stored() > r.quota {
		t.Errorf("%+v, %d bytes of %d", report, r.stored(), r.quota)
	}
}
