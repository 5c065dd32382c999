package commit_test

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/slipway-ci/slipway/coordinator/commit"
	"github.com/slipway-ci/slipway/coordinator/leader"
	"github.com/slipway-ci/slipway/coordinator/store"
	"github.com/slipway-ci/slipway/coordinator/store/faultstore"
	"github.com/slipway-ci/slipway/coordinator/store/memstore"
	"github.com/slipway-ci/slipway/internal/clock"
	"github.com/slipway-ci/slipway/internal/rpcerr"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// instant is a clock whose timers are due at once.
type instant struct{ clock.Real }

func (instant) AfterFunc(_ time.Duration, f func()) func() bool { return time.AfterFunc(0, f).Stop }

var discard = slog.New(slog.NewTextHandler(io.Discard, nil))

type rig struct {
	*commit.Committer
	store  *faultstore.Store
	term   leader.Term
	fenced chan struct{}
}

func open(t *testing.T, change func(*commit.Config)) *rig {
	t.Helper()
	s := faultstore.New(memstore.New())
	term, err := (&leader.Single{Store: s, Key: "/leader", Name: "t"}).Campaign(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{store: s, term: term, fenced: make(chan struct{})}
	c := commit.Config{Store: s, Fence: term.Fence(), Clock: instant{}, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), OnFenced: func() { close(r.fenced) }}
	if change != nil {
		change(&c)
	}
	r.Committer = commit.New(c)
	t.Cleanup(r.Close)
	return r
}

func (r *rig) propose(t *testing.T, key, value string, rev int64) <-chan commit.Outcome {
	t.Helper()
	done := make(chan commit.Outcome, 1)
	err := r.Propose(&commit.Transition{Compares: []store.Compare{{Key: key, Revision: rev}}, Ops: []store.Op{{Key: key, Value: []byte(value)}},
		Done: func(o commit.Outcome) { done <- o }})
	if err != nil {
		t.Fatal(err)
	}
	return done
}

func (r *rig) value(t *testing.T, key string) string {
	t.Helper()
	kv, _, err := r.store.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(kv.Value)
}

func TestCommitsAtOnceWhenIdleAndGroupsWhileBusy(t *testing.T) {
	r := open(t, func(c *commit.Config) { c.InFlight = 1 })
	r.store.Plan(faultstore.Held)
	first := r.propose(t, "/a", "1", 0)
	<-r.store.Holding()
	var rest []<-chan commit.Outcome
	for i := range 10 {
		rest = append(rest, r.propose(t, fmt.Sprintf("/k%d", i), "1", 0))
	}
	before := len(r.store.Commits())
	r.store.Release()
	for _, c := range append(rest, first) {
		if o := <-c; o.Err != nil || o.Revision == 0 {
			t.Fatalf("%+v", o)
		}
	}
	commits := r.store.Commits()
	if len(commits)-before != 1 || len(commits[len(commits)-1].Branches) != 10 {
		t.Fatalf("ten waiting transitions went in %d transactions", len(commits)-before)
	}
	for _, txn := range commits[2:] {
		if len(txn.Fence) != 1 {
			t.Fatal("a transaction without the fence")
		}
	}
}

func TestOneStaleTransitionFailsAlone(t *testing.T) {
	r := open(t, func(c *commit.Config) { c.InFlight = 1 })
	r.store.Plan(faultstore.Held)
	first := r.propose(t, "/a", "1", 0)
	<-r.store.Holding()
	stale, good := r.propose(t, "/b", "1", 99), r.propose(t, "/c", "1", 0)
	r.store.Release()
	if o := <-first; o.Err != nil {
		t.Fatal(o.Err)
	}
	if o := <-stale; !errors.Is(o.Err, commit.ErrConflict) {
		t.Fatalf("%+v", o)
	}
	if o := <-good; o.Err != nil {
		t.Fatal(o.Err)
	}
}

func TestUnknownOutcomeOfADeletion(t *testing.T) {
	for _, fault := range []faultstore.Fault{faultstore.None, faultstore.UnknownLost, faultstore.UnknownDone, faultstore.UnknownLater} {
		t.Run(fmt.Sprint(fault), func(t *testing.T) {
			r := open(t, nil)
			rev := (<-r.propose(t, "/a", "mine", 0)).Revision
			r.store.Plan(fault)
			done := make(chan commit.Outcome, 1)
			gone := func(rev int64) commit.Outcome {
				err := r.Propose(&commit.Transition{Compares: []store.Compare{{Key: "/a", Revision: rev}}, Ops: []store.Op{{Key: "/a", Delete: true}},
					Done: func(o commit.Outcome) { done <- o }})
				if err != nil {
					t.Fatal(err)
				}
				return <-done
			}
			if o := gone(rev); o.Err != nil || r.value(t, "/a") != "" {
				t.Fatalf("%+v, key %q", o, r.value(t, "/a"))
			}
			if o := gone(rev); !errors.Is(o.Err, commit.ErrConflict) {
				t.Fatalf("deleted twice: %+v", o)
			}
		})
	}
}

func TestUnknownOutcomesBecomeDefinite(t *testing.T) {
	for _, faults := range [][]faultstore.Fault{
		{faultstore.Refused}, {faultstore.UnknownLost}, {faultstore.UnknownDone}, {faultstore.UnknownLater},
		{faultstore.UnknownDone, faultstore.UnknownLost, faultstore.Refused},
		{faultstore.UnknownLater, faultstore.UnknownLost}, {faultstore.UnknownLost, faultstore.UnknownLater, faultstore.UnknownDone},
	} {
		t.Run(fmt.Sprint(faults), func(t *testing.T) {
			r := open(t, nil)
			r.store.Plan(faults...)
			o := <-r.propose(t, "/a", "mine", 0)
			kv, _, err := r.store.Get(t.Context(), "/a")
			if err != nil || o.Err != nil || string(kv.Value) != "mine" || kv.ModRevision != o.Revision {
				t.Fatalf("outcome %+v, key %+v, %v", o, kv, err)
			}
			if o := <-r.propose(t, "/a", "again", o.Revision); o.Err != nil {
				t.Fatal(o.Err)
			}
		})
	}
}

func TestUnknownIsNoExcuseForAConflict(t *testing.T) {
	r := open(t, nil)
	if o := <-r.propose(t, "/a", "theirs", 0); o.Err != nil {
		t.Fatal(o.Err)
	}
	r.store.Plan(faultstore.UnknownDone)
	if o := <-r.propose(t, "/a", "mine", 0); !errors.Is(o.Err, commit.ErrConflict) || r.value(t, "/a") != "theirs" {
		t.Fatalf("%+v, key holds %s", o, r.value(t, "/a"))
	}
}

func TestTransitionsOfOneKeyGoOneAfterAnother(t *testing.T) {
	r := open(t, func(c *commit.Config) { c.InFlight = 4 })
	r.store.Plan(faultstore.Held)
	a1 := r.propose(t, "/a", "1", 0)
	<-r.store.Holding()
	// It must not start before the first has ended; it then conflicts, because it expects the key absent.
	a2 := r.propose(t, "/a", "2", 0)
	other := r.propose(t, "/b", "1", 0)
	if o := <-other; o.Err != nil {
		t.Fatal(o.Err)
	}
	select {
	case o := <-a2:
		t.Fatalf("overtook: %+v", o)
	default:
	}
	r.store.Release()
	if o := <-a1; o.Err != nil {
		t.Fatal(o.Err)
	}
	if o := <-a2; !errors.Is(o.Err, commit.ErrConflict) {
		t.Fatalf("%+v", o)
	}
}

func TestFenceStopsEverything(t *testing.T) {
	r := open(t, nil)
	if _, err := (&leader.Single{Store: r.store, Key: "/leader", Name: "other"}).Campaign(t.Context()); err != nil {
		t.Fatal(err)
	}
	if o := <-r.propose(t, "/a", "1", 0); !errors.Is(o.Err, commit.ErrStopped) {
		t.Fatalf("%+v", o)
	}
	<-r.fenced
	err := r.Propose(&commit.Transition{Done: func(commit.Outcome) { t.Error("called") }})
	if rpcerr.ReasonOf(err) != rpcerr.NotLeader {
		t.Fatalf("%v", err)
	}
	if r.value(t, "/a") != "" {
		t.Fatal("a fenced transaction wrote")
	}
}

func TestFullQueueIsBusy(t *testing.T) {
	r := open(t, func(c *commit.Config) { c.InFlight, c.MaxQueue = 1, 2 })
	r.store.Plan(faultstore.Held)
	first := r.propose(t, "/a", "1", 0)
	<-r.store.Holding()
	accepted := 0
	var waits []chan commit.Outcome
	for i := range 5 {
		done := make(chan commit.Outcome, 1)
		k := fmt.Sprintf("/k%d", i)
		err := r.Propose(&commit.Transition{Refusable: true, Ops: []store.Op{{Key: k, Value: []byte("1")}}, Done: func(o commit.Outcome) { done <- o }})
		switch {
		case err == nil:
			accepted++
			waits = append(waits, done)
		case rpcerr.ReasonOf(err) != rpcerr.Busy:
			t.Fatal(err)
		}
	}
	if accepted != 2 {
		t.Fatalf("%d accepted", accepted)
	}
	must := r.propose(t, "/must", "1", 0)
	r.store.Release()
	<-first
	for _, w := range waits {
		if o := <-w; o.Err != nil {
			t.Fatal(o.Err)
		}
	}
	if o := <-must; o.Err != nil {
		t.Fatal(o.Err)
	}
}

func TestAnInvalidTransitionDoesNotFailItsGroup(t *testing.T) {
	r := open(t, func(c *commit.Config) { c.InFlight = 1 })
	r.store.Plan(faultstore.Held)
	first := r.propose(t, "/a", "1", 0)
	<-r.store.Holding()
	bad := make(chan commit.Outcome, 1)
	if err := r.Propose(&commit.Transition{Ops: []store.Op{{Key: "/x"}, {Key: "/x"}}, Done: func(o commit.Outcome) { bad <- o }}); err != nil {
		t.Fatal(err)
	}
	good := r.propose(t, "/g", "1", 0)
	r.store.Release()
	<-first
	if o := <-bad; !errors.Is(o.Err, store.ErrInvalid) {
		t.Fatalf("%+v", o)
	}
	if o := <-good; o.Err != nil {
		t.Fatal(o.Err)
	}
}

func TestCloseEndsWaitingTransitions(t *testing.T) {
	r := open(t, func(c *commit.Config) { c.InFlight = 1 })
	r.store.Plan(faultstore.Held)
	a := r.propose(t, "/a", "1", 0)
	<-r.store.Holding()
	b := r.propose(t, "/b", "1", 0)
	r.Close()
	for _, c := range []<-chan commit.Outcome{a, b} {
		if o := <-c; !errors.Is(o.Err, commit.ErrStopped) {
			t.Fatalf("%+v", o)
		}
	}
}
