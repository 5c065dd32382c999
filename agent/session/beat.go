package session

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/slipway-ci/slipway/internal/clock"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

// pace is how often an agent says that it lives: every look while it has work, and else, unless it has something to say, before idle has gone by.
type pace struct{ look, idle time.Duration }

func paceOf(w *fleetv1.Welcome) pace {
	p := pace{look: time.Duration(w.GetHeartbeatMs()) * time.Millisecond, idle: time.Duration(w.GetIdleHeartbeatMs()) * time.Millisecond}
	if p.look <= 0 {
		p.look = 5 * time.Second
	}
	p.idle = max(p.idle, p.look)
	return p
}

// pulse decides when a heartbeat is due. It is for one goroutine, but for offered.
type pulse struct {
	pace
	clock clock.Clock
	// last is what was said at.
	last *fleetv1.Heartbeat
	at   time.Time
	// busy: work was offered since then.
	busy atomic.Bool
}

// offered notes that there may be work, of which the coordinator wants to hear at the usual pace, even if it is done by the next look.
func (p *pulse) offered() { p.busy.Store(true) }

// due makes of a sign of life the heartbeat to send now; nil if none is due.
func (p *pulse) due(h *fleetv1.Heartbeat) *fleetv1.Heartbeat {
	now, busy := p.clock.Now(), p.busy.Swap(false)
	rests := h.GetHeld() == 0 && h.GetEcho() == 0 && p.idle > p.look
	if rests && !busy && p.last.GetNextMs() > 0 && now.Sub(p.at)+p.look <= p.idle && alike(h, p.last) {
		return nil
	}
	if rests {
		h.NextMs = p.idle.Milliseconds()
	}
	p.last, p.at = h, now
	return h
}

// alike says whether there is nothing new in h: free disk counts if it has changed by a tenth.
func alike(h, last *fleetv1.Heartbeat) bool {
	d := h.GetDiskFree() - last.GetDiskFree()
	return max(d, -d) <= last.GetDiskFree()/10 && slices.Equal(h.GetProblems(), last.GetProblems())
}

// beat is the heartbeat: a goroutine that does no work, so that a busy agent is not taken for a dead one.
func (p *pulse) beat(ctx context.Context, s *sender, sign func() *fleetv1.Heartbeat) error {
	due := make(chan struct{}, 1)
	for {
		// Wound up before sending, so that a slow send does not make the next one late.
		stop := p.clock.AfterFunc(p.look, func() { due <- struct{}{} })
		if h := p.due(sign()); h != nil {
			if err := s.send(ctx, &fleetv1.SessionRequest{Message: &fleetv1.SessionRequest_Heartbeat{Heartbeat: h}}); err != nil {
				stop()
				return err
			}
		}
		select {
		case <-due:
		case <-ctx.Done():
			stop()
			return ctx.Err()
		}
	}
}
