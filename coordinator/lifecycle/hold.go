package lifecycle

import (
	"errors"

	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// A hold is beside the states: the attempt is done and the job has failed, so that whoever depends on them goes on, and only the clean-up waits.
//
//	(failed | timed out) ──hold──► held ──extend──► held ──release──► released
//
// Times are milliseconds; now is the leader's clock.

var (
	errNotFailed  = errors.New("only the pod of a job that failed is held")
	errHeldBefore = errors.New("its pod was held before")
	errNotHeld    = errors.New("its pod is not held")
	errNoLease    = errors.New("a lease has a length, and its limit is not before its end")
)

// IsHeld says whether a job's pod is held.
func IsHeld(r *statev1.JobRecord) bool { return r.GetHeld() != nil && r.GetHeld().GetReleasedMs() == 0 }

// Hold notes that the pod of a job that failed is kept: for lease from now, and at most for limit from now.
func Hold(r *statev1.JobRecord, now, lease, limit int64) error {
	switch {
	case r.GetState() != jobFailed && r.GetState() != jobTimedOut:
		return errNotFailed
	case r.GetHeld() != nil:
		return errHeldBefore
	case lease <= 0 || limit < lease:
		return errNoLease
	}
	r.Held = &corev1.Held{SinceMs: now, UntilMs: now + lease, LimitMs: now + limit, LeaseMs: lease}
	return nil
}

// ExtendHold gives a lease its length again, as far as its limit allows. It says whether that is worth a write: whoever uses a pod asks
// for it again and again.
func ExtendHold(r *statev1.JobRecord, now int64) bool {
	if !IsHeld(r) {
		return false
	}
	h := r.GetHeld()
	until := min(now+h.GetLeaseMs(), h.GetLimitMs())
	if gain := until - h.GetUntilMs(); gain <= 0 || gain < h.GetLeaseMs()/4 && until != h.GetLimitMs() {
		return false
	}
	h.UntilMs = until
	return true
}

// ReleaseHold notes that a pod is not held any more.
func ReleaseHold(r *statev1.JobRecord, now int64, why string) error {
	if !IsHeld(r) {
		return errNotHeld
	}
	r.Held.ReleasedMs, r.Held.Released = now, why
	return nil
}

// Occupied says whether a run that has ended must still be kept at hand: a pod of it is held, or somebody's session in one has no end yet.
func Occupied(r *statev1.JobRecord) bool {
	if IsHeld(r) {
		return true
	}
	for _, s := range r.GetDebugSessions() {
		if s.GetEndedMs() == 0 {
			return true
		}
	}
	return false
}
