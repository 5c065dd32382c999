package gateway

import (
	"sync"

	"github.com/slipway-ci/slipway/internal/rpcerr"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

// maxQueued bounds what waits for a session that does not read. An agent has few slots; whoever lets this many wait is stuck.
const maxQueued = 4096

// outbox implements engine.Outbox: an unhurried queue between the engine and one session's stream. Messages wait until open is called,
// because Welcome is the first one although the engine may offer work before it says which attempts live.
type outbox struct {
	mu     sync.Mutex
	queue  []*fleetv1.SessionResponse
	opened bool
	err    error
	// wake has room for one signal: there is something to send, or an end.
	wake chan struct{}
	// offers are the assignments sent, by attempt: where its logs belong.
	offers map[string]*fleetv1.Assignment
}

func newOutbox() *outbox {
	return &outbox{wake: make(chan struct{}, 1), offers: map[string]*fleetv1.Assignment{}}
}

// Send implements engine.Outbox.
func (o *outbox) Send(m *fleetv1.SessionResponse) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return
	}
	if len(o.queue) >= maxQueued {
		o.err = rpcerr.New(rpcerr.Busy, "%d messages wait for this session, which does not read them; connect again", len(o.queue))
		o.queue = nil
		o.signal()
		return
	}
	if a := m.GetOffer().GetAssignment(); a != nil {
		o.offers[a.GetAttemptId()] = a
	}
	o.queue = append(o.queue, m)
	if o.opened {
		o.signal()
	}
}

// open lets messages through, welcome first.
func (o *outbox) open(welcome *fleetv1.SessionResponse) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.queue = append([]*fleetv1.SessionResponse{welcome}, o.queue...)
	o.opened = true
	o.signal()
}

// End implements engine.Outbox. What was not sent is dropped, and later messages too.
func (o *outbox) End(reason error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err == nil {
		o.err = reason
	}
	o.queue = nil
	o.signal()
}

func (o *outbox) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// take returns all that waits, or why the outbox ended.
func (o *outbox) take() ([]*fleetv1.SessionResponse, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	queue := o.queue
	o.queue = nil
	return queue, o.err
}

// offer returns the assignment that was sent for an attempt in this session, once.
func (o *outbox) offer(attemptID string) *fleetv1.Assignment {
	o.mu.Lock()
	defer o.mu.Unlock()
	a := o.offers[attemptID]
	delete(o.offers, attemptID)
	return a
}

// run sends until the outbox or the stream ends. It has its own goroutine.
func (o *outbox) run(done <-chan struct{}, send func(*fleetv1.SessionResponse) error) error {
	for {
		select {
		case <-done:
			return nil
		case <-o.wake:
		}
		queue, err := o.take()
		for _, m := range queue {
			if err := send(m); err != nil {
				return err
			}
		}
		if err != nil {
			return err
		}
	}
}
