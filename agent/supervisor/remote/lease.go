package remote

import (
	"time"

	"github.com/slipway-ci/slipway/agent/supervisor/proto"
)

type lease struct {
	end   time.Time
	grace time.Duration
}

// Lease lets the pod's steps go on until end and no longer; each call takes the place of the one before, also over connections that
// come later. A supervisor too old to know leases is not bound by them.
func (s *Supervisor) Lease(end time.Time, grace time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lease = &lease{end: end, grace: grace}
	s.sendLease()
}

// leasePatience is for a supervisor that is frozen, whose socket is full of leases: whoever renews must not wait for it.
const leasePatience = 100 * time.Millisecond

// sendLease tells the supervisor that is connected, if one is. Called with mu held.
func (s *Supervisor) sendLease() {
	if s.lease == nil || s.conn == nil || s.version < proto.LeaseVersion {
		return
	}
	m := &proto.Lease{Left: max(0, time.Until(s.lease.end)), Grace: s.lease.grace}
	if err := s.conn.SendWithin(leasePatience, &proto.Message{Type: proto.TypeLease, Lease: m}); err != nil {
		_ = s.conn.Close()
	}
}
