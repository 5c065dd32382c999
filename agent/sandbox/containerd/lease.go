package containerd

import (
	"sync"
	"time"
)

// lease is the pod's, for all of its containers in which steps run, also those that are still to come.
type lease struct {
	mu    sync.Mutex
	end   time.Time // zero: none
	grace time.Duration
}

// Lease implements sandbox.Pod. The supervisors keep it: they are there when the agent is not.
func (p *Pod) Lease(left, grace time.Duration) {
	p.lease.mu.Lock()
	defer p.lease.mu.Unlock()
	p.lease.end, p.lease.grace = time.Now().Add(left), grace
	for _, box := range p.boxes() {
		box.sup.Lease(p.lease.end, grace)
	}
}

// admit makes a finished annex one of the pod's boxes, under the pod's lease.
func (p *Pod) admit(x *annex, box *Pod) {
	p.lease.mu.Lock()
	defer p.lease.mu.Unlock()
	x.ready.Store(box)
	if !p.lease.end.IsZero() {
		box.sup.Lease(p.lease.end, p.lease.grace)
	}
}
