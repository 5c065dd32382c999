package gateway

import (
	"errors"
	"sync"

	"github.com/slipway-ci/slipway/internal/rpcerr"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

// maxQueued bounds what waits for a session that does not read. An agent has few slots; whoever lets this many wait is stuck.
const maxQueued = 4096

// outbox implements engine.Outbox: an unhurried queue between the engine and one session's stream. Messages wait until open is called,
// because Welcome is the first one although the engine may offer work before it says which attempts live. Who sends is a goroutine that lives while
// there is something to send: the stacks of goroutines that wait are most of what an idle agent costs.
type outbox struct {
	// send is called by one goroutine at a time; failed with its error, and with the reason of End. The session ends.
	send   func(*fleetv1.SessionResponse) error
	failed func(error)
	sender sync.WaitGroup

	mu      sync.Mutex
	queue   []*fleetv1.SessionResponse
	opened  bool
	sending bool
	ended   bool
	// offers are the assignments sent, by attempt: where its logs belong. nil is none.
	offers map[string]*fleetv1.Assignment
}

func newOutbox(send func(*fleetv1.SessionResponse) error, failed func(error)) *outbox {
	return &outbox{send: send, failed: failed}
}

// Send implements engine.Outbox.
func (o *outbox) Send(m *fleetv1.SessionResponse) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended {
		return
	}
	if len(o.queue) >= maxQueued {
		o.endLocked(rpcerr.New(rpcerr.Busy, "%d messages wait for this session, which does not read them; connect again", len(o.queue)))
		return
	}
	if a := m.GetOffer().GetAssignment(); a != nil {
		if o.offers == nil {
			o.offers = map[string]*fleetv1.Assignment{}
		}
		o.offers[a.GetAttemptId()] = a
	}
	o.queue = append(o.queue, m)
	o.wakeLocked()
}

// open lets messages through, welcome first.
func (o *outbox) open(welcome *fleetv1.SessionResponse) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended {
		return
	}
	o.queue = append([]*fleetv1.SessionResponse{welcome}, o.queue...)
	o.opened = true
	o.wakeLocked()
}

// End implements engine.Outbox. What was not sent is dropped, and later messages too.
func (o *outbox) End(reason error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.endLocked(reason)
}

func (o *outbox) endLocked(reason error) {
	o.queue = nil
	if !o.ended {
		o.ended = true
		o.failed(reason)
	}
}

// close ends the outbox of a session that has ended, and waits until nothing is sent any more.
func (o *outbox) close() {
	o.End(errors.New("the session has ended"))
	o.sender.Wait()
}

// wakeLocked sees to it that what is in the queue is sent.
func (o *outbox) wakeLocked() {
	if o.opened && !o.sending && len(o.queue) > 0 {
		o.sending = true
		o.sender.Go(o.drain)
	}
}

// drain sends until there is nothing left, or the stream breaks.
func (o *outbox) drain() {
	for {
		queue := o.take()
		if queue == nil {
			return
		}
		for _, m := range queue {
			if err := o.send(m); err != nil {
				o.End(err)
				break
			}
		}
	}
}

// take returns all that waits; nil, and nobody sends any more, if nothing does.
func (o *outbox) take() []*fleetv1.SessionResponse {
	o.mu.Lock()
	defer o.mu.Unlock()
	queue := o.queue
	o.queue = nil
	o.sending = queue != nil
	return queue
}

// offer returns the assignment that was sent for an attempt in this session, once.
func (o *outbox) offer(attemptID string) *fleetv1.Assignment {
	o.mu.Lock()
	defer o.mu.Unlock()
	a := o.offers[attemptID]
	delete(o.offers, attemptID)
	return a
}
