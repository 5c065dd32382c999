package runner

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/slipway-ci/slipway/agent/sandbox"
)

// errLapsed: the attempt's lease is over.
var errLapsed = errors.New("runner: the lease is over")

// lease of an attempt that must not run beside its successor (Assignment.lease_ms). It is kept twice: here, where also steps that the
// agent itself does can be ended, and by the pod, which ends what runs in it when no agent is there.
type lease struct {
	mu  sync.Mutex
	pod sandbox.Pod
	// end is zero without a lease.
	end  time.Time
	stop func() bool
	// lapse ends the attempt's work; nil before it began and after it is done.
	lapse func()
}

// Leased is whether the attempt lives on a lease.
func (t *Attempt) Leased() bool { return t.a.GetLeaseMs() > 0 }

func (t *Attempt) leaseLength() time.Duration {
	return time.Duration(t.a.GetLeaseMs()) * time.Millisecond
}

// leaseGrace is between TERM and KILL at the end of a lease. The coordinator's margin is a fifth of the lease, twice.
func (t *Attempt) leaseGrace() time.Duration { return min(Grace, t.leaseLength()/5) }

// Renew extends the lease: at contact the coordinator still knew that this agent was there. It does not block.
func (t *Attempt) Renew(contact time.Time) {
	if !t.Leased() {
		return
	}
	t.lease.mu.Lock()
	defer t.lease.mu.Unlock()
	if end := contact.Add(t.leaseLength()); end.After(t.lease.end) {
		t.lease.end = end
		t.applyLease()
	}
}

// leasePod puts the pod, which was made or found just now, under the lease.
func (t *Attempt) leasePod(pod sandbox.Pod) {
	t.lease.mu.Lock()
	defer t.lease.mu.Unlock()
	t.lease.pod = pod
	t.applyLease()
}

// applyLease winds the clocks up to the lease's end. Called with mu held.
func (t *Attempt) applyLease() {
	if t.lease.end.IsZero() || t.lease.lapse == nil {
		return
	}
	left := max(0, t.lease.end.Sub(t.d.Clock.Now()))
	if t.lease.stop != nil {
		t.lease.stop()
	}
	t.lease.stop = t.d.Clock.AfterFunc(left, t.lease.lapse)
	if t.lease.pod != nil {
		t.lease.pod.Lease(left, t.leaseGrace())
	}
}

// underLease runs the attempt's work; errLapsed if the lease ends first.
func (t *Attempt) underLease(ctx context.Context, work func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	t.lease.mu.Lock()
	t.lease.lapse = func() { cancel(errLapsed) }
	t.applyLease()
	t.lease.mu.Unlock()
	defer t.endLease()
	return work(ctx)
}

// endLease is for when nothing of the job runs any more, or nobody here watches over it.
func (t *Attempt) endLease() {
	t.lease.mu.Lock()
	defer t.lease.mu.Unlock()
	t.lease.lapse = nil
	if t.lease.stop != nil {
		t.lease.stop()
		t.lease.stop = nil
	}
}

func (t *Attempt) lapsedReason() error {
	return fmt.Errorf("the agent had no word from its coordinator for %s; the job holds a concurrency group, whose next holder may run by now", t.leaseLength())
}
