package session

import (
	"time"

	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

// leaving is what the coordinator is told of an agent that stops.
type leaving struct {
	reason string
	// deadline is when the agent leaves at the latest; zero is never.
	deadline time.Time
}

// Drain tells the coordinator, in this session and later ones, that the agent stops and wants no work; it leaves after limit at the latest,
// 0 is without a limit. It never blocks.
func (c *Client) Drain(limit time.Duration, reason string) {
	l := &leaving{reason: reason}
	if limit > 0 {
		l.deadline = c.cfg.Clock.Now().Add(limit)
	}
	c.mu.Lock()
	c.leaving = l
	c.mu.Unlock()
	c.outbox.tell(&fleetv1.SessionRequest{Message: &fleetv1.SessionRequest_Drain{Drain: c.drainLeft()}})
}

// drainLeft is the drain as of now; nil if the agent does not stop.
func (c *Client) drainLeft() *fleetv1.Drain {
	c.mu.Lock()
	l := c.leaving
	c.mu.Unlock()
	if l == nil {
		return nil
	}
	d := &fleetv1.Drain{Reason: l.reason}
	if !l.deadline.IsZero() {
		d.DeadlineMs = max(1, l.deadline.Sub(c.cfg.Clock.Now()).Milliseconds())
	}
	return d
}

// sign is a sign of life.
func (c *Client) sign() *fleetv1.Heartbeat {
	h := &fleetv1.Heartbeat{DiskFree: c.cfg.DiskFree()}
	if c.cfg.Condition != nil {
		var held int
		held, h.Problems = c.cfg.Condition()
		h.Held = uint32(held)
	}
	return h
}
