package lifecycle

import (
	"errors"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

func TestOnlyFailedJobsAreHeldAndOnce(t *testing.T) {
	for n := range corev1.JobState_name {
		r := &statev1.JobRecord{State: corev1.JobState(n)}
		err := Hold(r, 100, 10, 20)
		if may := r.GetState() == jobFailed || r.GetState() == jobTimedOut; may != (err == nil) || may != IsHeld(r) {
			t.Errorf("%s: %v", r.GetState(), err)
		}
	}
	r := &statev1.JobRecord{State: jobFailed}
	if err := Hold(r, 100, 30, 20); !errors.Is(err, errNoLease) {
		t.Errorf("beyond the limit: %v", err)
	}
	if err := ReleaseHold(r, 100, "x"); !errors.Is(err, errNotHeld) {
		t.Errorf("released what was not held: %v", err)
	}
	if err := Hold(r, 100, 10, 20); err != nil {
		t.Fatal(err)
	}
	if err := ReleaseHold(r, 105, "ada let it go"); err != nil || IsHeld(r) || r.GetHeld().GetReleased() != "ada let it go" {
		t.Errorf("%v %v", r.GetHeld(), err)
	}
	if err := Hold(r, 110, 10, 20); !errors.Is(err, errHeldBefore) {
		t.Errorf("held again: %v", err)
	}
}

// TestALeaseNeverPassesItsLimit extends at arbitrary times: the end only moves on, never beyond the limit nor the lease, and a lease that is
// extended in time is never shorter than three quarters of its length, but for the limit.
func TestALeaseNeverPassesItsLimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lease := rapid.Int64Range(1, 1000).Draw(t, "lease")
		limit := lease + rapid.Int64Range(0, 5000).Draw(t, "more")
		r := &statev1.JobRecord{State: jobTimedOut}
		if err := Hold(r, 0, lease, limit); err != nil {
			t.Fatal(err)
		}
		for now := int64(0); now < limit+10; now += rapid.Int64Range(1, 300).Draw(t, "later") {
			before := proto.CloneOf(r.GetHeld())
			wrote := ExtendHold(r, now)
			h := r.GetHeld()
			switch {
			case !wrote && !proto.Equal(before, h), wrote && h.GetUntilMs() <= before.GetUntilMs():
				t.Fatalf("wrote %v: %v, was %v", wrote, h, before)
			case h.GetUntilMs() > limit, h.GetUntilMs() > max(now+lease, before.GetUntilMs()):
				t.Fatalf("at %d: %v", now, h)
			case now < limit && h.GetUntilMs() < min(now+lease-lease/4, limit):
				t.Fatalf("at %d only until %d", now, h.GetUntilMs())
			}
		}
	})
}

func TestASessionWithoutAnEndKeepsItsRun(t *testing.T) {
	r := &statev1.JobRecord{State: jobFailed, DebugSessions: []*corev1.DebugSession{{StartedMs: 1, EndedMs: 2}}}
	if Occupied(r) {
		t.Error("all is over")
	}
	r.DebugSessions = append(r.DebugSessions, &corev1.DebugSession{StartedMs: 3})
	if !Occupied(r) {
		t.Error("a session lasts")
	}
}
