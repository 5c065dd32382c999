package session

import (
	"testing"
	"time"

	"github.com/slipway-ci/slipway/internal/clock"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

// looks makes a pulse with a look every 2 s, and returns how it is looked at: the promise of the heartbeat that is sent, or -1.
func looks(idle time.Duration) (*pulse, func(h *fleetv1.Heartbeat) int64) {
	c := clock.NewFake(time.UnixMilli(1_700_000_000_000))
	p := &pulse{pace: paceOf(&fleetv1.Welcome{HeartbeatMs: 2000, IdleHeartbeatMs: idle.Milliseconds()}), clock: c}
	return p, func(h *fleetv1.Heartbeat) int64 {
		defer c.Advance(2 * time.Second)
		if h = p.due(h); h == nil {
			return -1
		}
		return h.GetNextMs()
	}
}

func TestAnIdleAgentBeatsBeforeItsPromiseEnds(t *testing.T) {
	_, look := looks(9 * time.Second)
	for i, want := range []int64{9000, -1, -1, -1, 9000, -1, -1, -1, 9000} {
		if got := look(&fleetv1.Heartbeat{DiskFree: 100}); got != want {
			t.Fatalf("look %d: %d, want %d", i, got, want)
		}
	}
}

func TestAnAgentWithWorkBeatsAtEveryLook(t *testing.T) {
	_, look := looks(10 * time.Second)
	busy := func() *fleetv1.Heartbeat { return &fleetv1.Heartbeat{Held: 1} }
	for i, h := range []*fleetv1.Heartbeat{busy(), busy(), {Echo: 1}, {Echo: 2}} {
		if got := look(h); got != 0 {
			t.Fatalf("look %d: %d", i, got)
		}
	}
	for i, want := range []int64{10_000, -1} {
		if got := look(&fleetv1.Heartbeat{}); got != want {
			t.Fatalf("idle again, look %d: %d, want %d", i, got, want)
		}
	}
}

func TestWhatIsNewIsSaidAtTheNextLook(t *testing.T) {
	for name, h := range map[string]*fleetv1.Heartbeat{
		"a problem": {DiskFree: 100, Problems: []string{"no containerd"}}, "the disk": {DiskFree: 89}, "work": {DiskFree: 100, Held: 1}, "a lease": {DiskFree: 100, Echo: 1},
	} {
		_, look := looks(time.Minute)
		look(&fleetv1.Heartbeat{DiskFree: 100})
		if got := look(&fleetv1.Heartbeat{DiskFree: 95}); got != -1 {
			t.Errorf("%s: a heartbeat of nothing new: %d", name, got)
		}
		if got := look(h); got < 0 {
			t.Errorf("%s was not said", name)
		}
	}
}

func TestAnOfferIsFollowedByAHeartbeat(t *testing.T) {
	p, look := looks(time.Minute)
	look(&fleetv1.Heartbeat{})
	p.offered()
	for i, want := range []int64{60_000, -1} {
		if got := look(&fleetv1.Heartbeat{}); got != want {
			t.Fatalf("look %d after an offer: %d, want %d", i, got, want)
		}
	}
}

func TestACoordinatorThatKnowsNoIdlePaceHearsEveryLook(t *testing.T) {
	_, look := looks(0)
	for range 3 {
		if got := look(&fleetv1.Heartbeat{}); got != 0 {
			t.Fatalf("%d", got)
		}
	}
}
