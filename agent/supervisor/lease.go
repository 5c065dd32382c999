package supervisor

import (
	"errors"
	"os"
	"syscall"
	"time"

	"github.com/slipway-ci/slipway/agent/supervisor/proto"
)

// lease is for jobs that must not run beside their successor (a deploy, the holder of a concurrency group): the agent renews it for
// as long as its coordinator answers. Whether the agent, the network or the coordinator is away then makes no difference, and none
// of them is needed to end the job in time.
type lease struct {
	timer *time.Timer
	end   time.Time
	grace time.Duration
	over  bool
}

// renew takes a new lease in place of the one before; one that is over stays so.
func (s *Supervisor) renew(l proto.Lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lease.over {
		return
	}
	left := max(l.Left, 0)
	s.lease.end, s.lease.grace = time.Now().Add(left), max(l.Grace, 0)
	if s.lease.timer == nil {
		s.lease.timer = time.AfterFunc(left, s.lapse)
		return
	}
	s.lease.timer.Reset(left)
}

// lapse ends whatever runs, unless the lease was renewed while the timer fired.
func (s *Supervisor) lapse() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lease.over || time.Now().Before(s.lease.end) {
		return
	}
	s.lease.over = true
	s.cfg.Log.Warn("the job's lease is over: ending everything")
	for _, st := range s.byPID {
		st.lapsed = true
		s.terminate(st, s.lease.grace)
	}
	if os.Getpid() != 1 {
		return
	}
	// What earlier steps left behind counts too, and nobody else lives in the container's process namespace.
	time.AfterFunc(s.lease.grace, func() {
		if err := syscall.Kill(-1, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			s.cfg.Log.Error("ending what is left in the container", "err", err)
		}
	})
}
