package archive_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/coordinator/archive"
	"github.com/slipway-ci/slipway/coordinator/engine"
	"github.com/slipway-ci/slipway/coordinator/history"
	"github.com/slipway-ci/slipway/coordinator/store"
	"github.com/slipway-ci/slipway/coordinator/store/faultstore"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

var errBusy = errors.New("database is locked")

// busyIndex doesn't note the next heads, or can't follow for a while.
type busyIndex struct {
	archive.Index
	advances, follows int
}

func (x *busyIndex) Advance(ctx context.Context, moves ...history.Move) error {
	if x.advances--; x.advances >= 0 {
		return errBusy
	}
	return x.Index.Advance(ctx, moves...)
}

func (x *busyIndex) Follow(ctx context.Context, heads map[string]*statev1.ChainHead) (int, error) {
	if x.follows--; x.follows >= 0 {
		return 0, errBusy
	}
	return x.Index.Follow(ctx, heads)
}

// blindStore can't read the heads of chains right after the next transactions.
type blindStore struct {
	store.Store
	commits int
	blind   bool
}

func (s *blindStore) Commit(ctx context.Context, txn store.Txn) (store.TxnResult, error) {
	s.commits--
	s.blind = s.commits >= 0
	return s.Store.Commit(ctx, txn)
}

func (s *blindStore) Range(ctx context.Context, from, to string, limit int) ([]store.KV, bool, error) {
	if from == engine.ChainKey("") && s.blind {
		s.blind = false
		return nil, false, store.ErrUnavailable
	}
	return s.Store.Range(ctx, from, to, limit)
}

func (r *rig) complete() bool {
	r.t.Helper()
	complete, err := r.history.Complete(r.t.Context(), r.heads())
	if err != nil {
		r.t.Fatal(err)
	}
	return complete
}

// An error between the chain and the index is put right within the term: nothing can be removed before that.
func TestTheIndexIsBroughtToTheChainsWithinTheTerm(t *testing.T) {
	index, blind := &busyIndex{}, &blindStore{}
	for name, plan := range map[string]func(*rig){
		"the head is not noted":                     func(*rig) { index.advances = 1 },
		"the head is not noted, then nothing works": func(*rig) { index.advances, index.follows = 1, 3 },
		"nobody knows what became of it": func(r *rig) {
			blind.commits = 1
			r.store.Plan(faultstore.UnknownDone)
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			*index, *blind = busyIndex{Index: r.history}, blindStore{Store: r.store}
			conf := r.archiverConfig()
			conf.Index, conf.Store = index, blind
			r.archiver = archive.New(conf)
			ids := []string{r.finish("p", "", "a"), r.finish("q", "", "a")}
			r.clock.Advance(2 * time.Minute)
			plan(r)
			if _, _, err := r.archiver.Step(t.Context()); err == nil || r.complete() {
				t.Fatalf("nothing failed: %v", err)
			}
			r.sees(ids)
			for range 4 {
				_, next, err := r.archiver.Step(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				r.clock.Advance(max(next, time.Second))
			}
			r.sealDue()
			if !r.complete() || len(r.inStore()) > 0 {
				t.Errorf("the index is behind; left in the store: %v", r.inStore())
			}
			r.sees(ids)
		})
	}
}

// Without runs to seal it looks, too: what an operator repaired is found.
func TestTheIndexIsLookedAtEveryNowAndThen(t *testing.T) {
	r := newRig(t)
	ids := []string{r.finish("p", "", "a"), r.finish("p", "", "a")}
	r.seal()
	if err := r.history.Forget(t.Context(), "p", 1); err != nil {
		t.Fatal(err)
	}
	if r.complete() {
		t.Fatal("an index without a run is complete")
	}
	n, next, err := r.archiver.Step(t.Context())
	if n != 0 || err != nil || next <= 0 {
		t.Fatal(n, next, err)
	}
	r.clock.Advance(next)
	r.sealDue()
	if !r.complete() {
		t.Error("the index is not complete")
	}
	r.sees(ids)
}

// fits holds every entry of the index against the chains.
func (r *rig) fits() {
	r.t.Helper()
	rows, err := r.history.Rows(r.t.Context())
	if err != nil || !r.complete() || len(rows) != r.check() {
		r.t.Fatalf("complete: %t, %d entries of %d, %v", r.complete(), len(rows), r.check(), err)
	}
	for _, row := range rows {
		b, _, err := history.ReadBundle(r.t.Context(), r.Blobs, row.Bundle)
		if err != nil || b.GetHeader().GetId() != row.Run || b.GetSeq() != row.Seq {
			r.t.Fatalf("the entry of run %s has another's bundle or place: %v", row.Run, err)
		}
	}
}

// A transaction that nobody knew of comes through while its runs are sealed again: none gets a second place, and no entry a wrong one.
func TestATransactionThatComesThroughLateLosesNoBundle(t *testing.T) {
	for _, point := range archive.Points[:len(archive.Points)-1] {
		for _, batch := range []int{1, 64} {
			t.Run(fmt.Sprintf("%s/%d", point, batch), func(t *testing.T) {
				r := newRig(t)
				conf := r.archiverConfig()
				conf.Batch = batch
				r.archiver = archive.New(conf)
				ids := []string{r.finish("p", "", "a")}
				r.seal()
				for range 3 {
					ids = append(ids, r.finish("p", "", "a"))
				}
				r.clock.Advance(2 * time.Minute)
				r.store.Plan(faultstore.UnknownLost)
				if _, _, err := r.archiver.Step(t.Context()); !errors.Is(err, store.ErrUnknown) {
					t.Fatalf("the outcome is known: %v", err)
				}
				commits := r.store.Commits()
				late := commits[len(commits)-1]
				r.fail = func(p archive.Point) error {
					if p != point {
						return nil
					}
					r.fail = nil
					res, err := r.store.Store.Commit(t.Context(), late)
					if err == nil && (res.Fenced || !res.Branches[0]) {
						err = errors.New("it does not come through")
					}
					return err
				}
				for range 4 {
					r.clock.Advance(10 * time.Second)
					if _, _, err := r.archiver.Step(t.Context()); err != nil {
						t.Fatal(err)
					}
				}
				r.sealDue()
				if left := r.inStore(); len(left) > 0 || r.fail != nil {
					t.Errorf("left in the store: %v", left)
				}
				r.fits()
				r.sees(ids)
			})
		}
	}
}
