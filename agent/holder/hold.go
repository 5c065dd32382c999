package holder

import (
	"time"

	"github.com/slipway-ci/slipway/agent/runner"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

// Hold implements session.Handler.
func (h *Holder) Hold(id string, left time.Duration, reason string) {
	if t := h.attempt(id); t != nil {
		t.Hold(left, reason)
	}
}

// Attach implements session.Handler.
func (h *Holder) Attach(a *fleetv1.Attach) {
	if t := h.attempt(a.GetAttemptId()); t != nil {
		t.Attach(a)
		return
	}
	h.actors.Go(func() {
		if err := runner.RefuseAttach(h.ctx, h.cfg.Deps.Remote, a.GetSessionId(), "the agent does not hold that pod"); err != nil {
			h.cfg.Deps.Log.Warn("a visitor could not be told that a pod is gone", "attempt", a.GetAttemptId(), "error", err)
		}
	})
}
