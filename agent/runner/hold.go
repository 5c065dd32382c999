package runner

import (
	"context"
	"errors"
	"time"

	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/agent/state"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

// An attempt that failed may keep its pod for people to look into (Assignment.hold_ms). Its result is reported and its logs end as ever; only
// the clean-up waits, in PhaseDone. The coordinator counts the lease, and says how much is left; here it ends by this host's clock, too.

// holdNotices are what the coordinator says of a hold.
type holdNotices struct {
	// news: left is how long it may still last, from when it was said; 0 is over, for reason.
	news   bool
	until  time.Time
	reason string
	attach *fleetv1.Attach
}

// Hold sets how much longer the pod may be held; 0 ends it. It never blocks.
func (t *Attempt) Hold(left time.Duration, reason string) {
	until := t.d.Clock.Now().Add(left)
	if left <= 0 {
		until = time.Time{}
	}
	t.notices.set(func() { t.notices.hold.news, t.notices.hold.until, t.notices.hold.reason = true, until, reason })
}

// Attach asks for a command in the held pod; the newest one counts. It never blocks.
func (t *Attempt) Attach(a *fleetv1.Attach) {
	t.notices.set(func() { t.notices.hold.attach = a })
}

func (t *Attempt) takeHoldNotices() holdNotices {
	t.notices.mu.Lock()
	defer t.notices.mu.Unlock()
	n := t.notices.hold
	t.notices.hold = holdNotices{}
	return n
}

// beginHold decides, with the result, whether the pod is held.
func (t *Attempt) beginHold() {
	if t.a.GetHoldMs() <= 0 || t.Leased() || t.p.Result != corev1.Result_RESULT_FAILURE || t.p.Cancelled || t.pod == nil {
		return
	}
	t.p.Hold = &state.Hold{UntilMS: t.d.Clock.Now().UnixMilli() + t.a.GetHoldMs()}
	t.log.Info("the pod is held", "for_ms", t.a.GetHoldMs())
}

// heldMS is how long the pod is held from now; 0 is not.
func (t *Attempt) heldMS() int64 {
	if t.p.Hold == nil || t.p.Hold.Released != "" {
		return 0
	}
	return max(1, t.p.Hold.UntilMS-t.d.Clock.Now().UnixMilli())
}

// endHold lets the pod go and says so.
func (t *Attempt) endHold(why string) {
	t.p.Hold.Released = why
	t.log.Info("the pod is let go", "reason", why)
	t.save()
}

// holdPod returns once the pod is not held any more; the error is stopReason's.
func (t *Attempt) holdPod(ctx context.Context) error {
	if t.heldMS() == 0 {
		return nil
	}
	if err := t.recordEnd(ctx); err != nil {
		return err
	}
	if t.pod == nil {
		err := t.attach(ctx)
		switch {
		case ctx.Err() != nil:
			return stopReason(ctx)
		case errors.Is(err, sandbox.ErrNotFound):
			t.endHold("its pod is gone: the host, or what runs its containers, was restarted")
			return nil
		case err != nil:
			t.endHold("its pod can't be reached: " + err.Error())
			return nil //nolint:nilerr // it is told, and the clean-up goes on
		}
	}
	var in *visit
	why := ""
	for why == "" && ctx.Err() == nil {
		why = t.awaitHold(ctx, &in)
	}
	in.end(why)
	if ctx.Err() != nil {
		return stopReason(ctx)
	}
	t.endHold(why)
	return nil
}

// awaitHold waits for one thing to happen, and says why the hold is over, if it is.
func (t *Attempt) awaitHold(ctx context.Context, in **visit) (over string) {
	over = "the lease ran out"
	left := time.UnixMilli(t.p.Hold.UntilMS).Sub(t.d.Clock.Now())
	if left <= 0 {
		return over
	}
	due := make(chan struct{})
	defer t.d.Clock.AfterFunc(left, func() { close(due) })()
	select {
	case <-due:
		return over
	case <-(*in).lost():
		return "its pod has died"
	case <-ctx.Done():
		return ""
	case <-t.notices.wake:
	}
	n := t.takeHoldNotices()
	switch {
	case n.news && n.until.IsZero():
		return n.reason
	case n.news:
		t.p.Hold.UntilMS = n.until.UnixMilli()
		if err := t.d.DB.Save(t.id, t.p); err != nil {
			t.log.Error("a lease could not be recorded; a restart would keep to the one before", "error", err)
		}
	}
	if n.attach != nil {
		(*in).end("somebody else came in")
		*in = t.visit(ctx, n.attach)
	}
	return ""
}
