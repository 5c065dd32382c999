package commit_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"pgregory.net/rapid"

	"github.com/slipway-ci/slipway/coordinator/commit"
	"github.com/slipway-ci/slipway/coordinator/leader"
	"github.com/slipway-ci/slipway/coordinator/store"
	"github.com/slipway-ci/slipway/coordinator/store/faultstore"
	"github.com/slipway-ci/slipway/coordinator/store/memstore"
	"github.com/slipway-ci/slipway/internal/rpcerr"
)

var points = []commit.Point{commit.BeforeCommit, commit.AfterCommit, commit.BeforeRead, commit.AfterRead}

// failing fails the first times that a point is passed.
type failing struct {
	mu   sync.Mutex
	left map[commit.Point]int
	hits map[commit.Point]int
}

func (f *failing) at(_ context.Context, p commit.Point) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.hits[p]++
	if f.left[p] > 0 {
		f.left[p]--
		return errors.New("injected")
	}
	return nil
}

func TestFailuresAtEveryPointHaveADefiniteEnd(t *testing.T) {
	for _, p := range points {
		for times := 1; times <= 3; times++ {
			t.Run(fmt.Sprintf("%s %d", p, times), func(t *testing.T) {
				// The reads' points are passed only after an unknown outcome.
				f := &failing{left: map[commit.Point]int{p: times}, hits: map[commit.Point]int{}}
				if p == commit.BeforeRead || p == commit.AfterRead {
					f.left[commit.AfterCommit] = 1
				}
				r := open(t, func(c *commit.Config) { c.Failpoint = f.at })
				o := <-r.propose(t, "/a", "mine", 0)
				if o.Err != nil || r.value(t, "/a") != "mine" {
					t.Fatalf("%+v, the key holds %q", o, r.value(t, "/a"))
				}
				if f.hits[p] < times {
					t.Fatalf("%s was passed %d times", p, f.hits[p])
				}
				if o := <-r.propose(t, "/a", "theirs", 0); !errors.Is(o.Err, commit.ErrConflict) {
					t.Fatalf("a stale transition: %+v", o)
				}
			})
		}
	}
}

// TestACrashAtAPointLeavesAllOrNothing: what the next leader finds is whole, and nobody was told that it is there.
func TestACrashAtAPointLeavesAllOrNothing(t *testing.T) {
	for _, p := range points {
		t.Run(string(p), func(t *testing.T) {
			reached := make(chan struct{})
			var once sync.Once
			f := &failing{left: map[commit.Point]int{}, hits: map[commit.Point]int{}}
			if p == commit.BeforeRead || p == commit.AfterRead {
				f.left[commit.AfterCommit] = 1
			}
			r := open(t, func(c *commit.Config) {
				c.Failpoint = func(ctx context.Context, at commit.Point) error {
					if at != p {
						return f.at(ctx, at)
					}
					once.Do(func() { close(reached) })
					<-ctx.Done()
					return ctx.Err()
				}
			})
			done := make(chan commit.Outcome, 1)
			if err := r.Propose(&commit.Transition{Compares: []store.Compare{{Key: "/a"}, {Key: "/b"}}, Ops: []store.Op{{Key: "/a", Value: []byte("1")}, {Key: "/b", Value: []byte("1")}},
				Done: func(o commit.Outcome) { done <- o }}); err != nil {
				t.Fatal(err)
			}
			<-reached
			r.Close()
			if o := <-done; !errors.Is(o.Err, commit.ErrStopped) {
				t.Fatalf("%+v", o)
			}
			a, b := r.value(t, "/a"), r.value(t, "/b")
			if want := map[bool]string{true: "", false: "1"}[p == commit.BeforeCommit]; a != want || b != want {
				t.Fatalf("the store has %q and %q, want both %q", a, b, want)
			}
		})
	}
}

// TestEveryOutcomeIsTrue: whatever fails, a transition that succeeded is in the store, in order, and one that conflicted is not.
func TestEveryOutcomeIsTrue(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		f := &failing{left: map[commit.Point]int{}, hits: map[commit.Point]int{}}
		for _, p := range points {
			f.left[p] = rapid.IntRange(0, 3).Draw(rt, string(p))
		}
		s := faultstore.New(memstore.New())
		term, err := (&leader.Single{Store: s, Key: "/leader", Name: "t"}).Campaign(context.Background())
		if err != nil {
			rt.Fatal(err)
		}
		for range rapid.IntRange(0, 6).Draw(rt, "faults") {
			s.Plan(rapid.SampledFrom([]faultstore.Fault{faultstore.None, faultstore.Refused, faultstore.UnknownLost, faultstore.UnknownDone, faultstore.UnknownLater}).Draw(rt, "fault"))
		}
		c := commit.New(commit.Config{Store: s, Fence: term.Fence(), Clock: instant{}, Log: discard, Failpoint: f.at})
		defer c.Close()
		revs, values := map[string]int64{}, map[string]string{}
		for i := range rapid.IntRange(1, 12).Draw(rt, "transitions") {
			key := rapid.SampledFrom([]string{"/a", "/b", "/c"}).Draw(rt, "key")
			stale := rapid.IntRange(0, 3).Draw(rt, "stale") == 0
			rev := revs[key]
			if stale {
				rev += 1000
			}
			value := fmt.Sprint(i)
			done := make(chan commit.Outcome, 1)
			if err := c.Propose(&commit.Transition{Compares: []store.Compare{{Key: key, Revision: rev}}, Ops: []store.Op{{Key: key, Value: []byte(value)}},
				Done: func(o commit.Outcome) { done <- o }}); err != nil {
				rt.Fatal(err)
			}
			switch o := <-done; {
			case stale && !errors.Is(o.Err, commit.ErrConflict), !stale && o.Err != nil:
				rt.Fatalf("transition %d of %s, stale %t: %+v", i, key, stale, o)
			case !stale:
				revs[key], values[key] = o.Revision, value
			}
			kv, _, err := s.Get(context.Background(), key)
			if err != nil || string(kv.Value) != values[key] || kv.ModRevision != revs[key] {
				rt.Fatalf("%s holds %q at %d, want %q at %d, %v", key, kv.Value, kv.ModRevision, values[key], revs[key], err)
			}
		}
	})
}

func TestBusySaysWhenToComeBack(t *testing.T) {
	r := open(t, func(c *commit.Config) { c.InFlight, c.MaxQueue = 1, 1 })
	r.store.Plan(faultstore.Held)
	first := r.propose(t, "/a", "1", 0)
	<-r.store.Holding()
	second := r.propose(t, "/b", "1", 0)
	err := r.Propose(&commit.Transition{Refusable: true, Ops: []store.Op{{Key: "/c", Value: []byte("1")}}, Done: func(commit.Outcome) { t.Error("called") }})
	wait := rpcerr.RetryAfter(err)
	if status.Code(err) != codes.ResourceExhausted || wait < 100*time.Millisecond || wait > 10*time.Second {
		t.Fatalf("%v, come back in %v", err, wait)
	}
	r.store.Release()
	for _, c := range []<-chan commit.Outcome{first, second} {
		if o := <-c; o.Err != nil {
			t.Fatal(o.Err)
		}
	}
}
