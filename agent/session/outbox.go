package session

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"github.com/slipway-ci/slipway/internal/clock"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

// reportPause is how soon a report of an attempt follows the one before, unless it is the last. Each costs the coordinator a transaction and
// whoever watches a message, together more than a short step costs this host; people see no more than this.
const reportPause = 20 * time.Millisecond

// outbox keeps what must reach the coordinator: of each attempt the newest report, until it is acknowledged.
type outbox struct {
	clock clock.Clock
	wake  chan struct{}

	mu      sync.Mutex
	reports map[string]*entry
	// order of attempts by their first unacknowledged report, so that none starves.
	order []string
	// sentAt is when an attempt's last report was sent in this session; timed says that a wake-up for one that pauses is set.
	sentAt  map[string]time.Time
	timed   bool
	replies []*fleetv1.OfferReply
	// news is said once in this session; Hello says it in later ones.
	news []*fleetv1.SessionRequest
}

type entry struct {
	report *corev1.Report
	// sent: in this session.
	sent bool
	// inFlight is the number of the newest report that was sent in this session and is not acknowledged; 0 is none.
	inFlight uint64
}

// waits is whether a newer report waits for the acknowledgement of the one before: each costs the coordinator a transaction, and of
// a job with short steps the next one is there before the last is committed. Its end waits for nothing.
func (e *entry) waits() bool { return e.inFlight > 0 && !e.last() }

func (e *entry) last() bool { return e.report.GetState() == corev1.AttemptState_ATTEMPT_STATE_DONE }

func newOutbox(c clock.Clock) *outbox {
	return &outbox{clock: c, wake: make(chan struct{}, 1), reports: map[string]*entry{}, sentAt: map[string]time.Time{}}
}

func (o *outbox) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

func (o *outbox) report(r *corev1.Report) {
	o.mu.Lock()
	defer o.mu.Unlock()
	id := r.GetAttemptId()
	old := o.reports[id]
	if old != nil && old.report.GetSeq() >= r.GetSeq() {
		return
	}
	if old == nil {
		o.order = append(o.order, id)
	}
	e := &entry{report: r}
	if old != nil {
		e.inFlight = old.inFlight
	}
	o.reports[id] = e
	o.signal()
}

func (o *outbox) waiting() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.reports)
}

func (o *outbox) reply(r *fleetv1.OfferReply) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.replies = append(o.replies, r)
	o.signal()
}

func (o *outbox) acked(id string, seq uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	e := o.reports[id]
	switch {
	case e == nil:
	case e.report.GetSeq() <= seq:
		o.removeLocked(id)
		if e.last() {
			delete(o.sentAt, id)
		}
	case e.inFlight <= seq:
		e.inFlight = 0
		o.signal()
	}
}

func (o *outbox) forget(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.removeLocked(id)
	delete(o.sentAt, id)
}

func (o *outbox) removeLocked(id string) {
	if o.reports[id] == nil {
		return
	}
	delete(o.reports, id)
	for i, x := range o.order {
		if x == id {
			o.order = append(o.order[:i], o.order[i+1:]...)
			return
		}
	}
}

func (o *outbox) tell(m *fleetv1.SessionRequest) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.news = append(o.news, m)
	o.signal()
}

// begin prepares for a new session: replies of the old one mean nothing in it, reports are sent again.
func (o *outbox) begin() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.replies, o.news = nil, nil
	clear(o.sentAt)
	for _, e := range o.reports {
		e.sent, e.inFlight = false, 0
	}
}

// next returns what is to be sent now, marked as sent.
func (o *outbox) next() []*fleetv1.SessionRequest {
	o.mu.Lock()
	defer o.mu.Unlock()
	out := o.news
	o.news = nil
	for _, r := range o.replies {
		out = append(out, &fleetv1.SessionRequest{Message: &fleetv1.SessionRequest_OfferReply{OfferReply: r}})
	}
	o.replies = nil
	now, pause := o.clock.Now(), time.Duration(0)
	for _, id := range o.order {
		e := o.reports[id]
		if e.sent || e.waits() {
			continue
		}
		if left := reportPause - now.Sub(o.sentAt[id]); left > 0 && !e.last() {
			pause = max(pause, left)
			continue
		}
		e.sent, e.inFlight, o.sentAt[id] = true, e.report.GetSeq(), now
		out = append(out, &fleetv1.SessionRequest{Message: &fleetv1.SessionRequest_Report{Report: e.report}})
	}
	if pause > 0 && !o.timed {
		o.timed = true
		o.clock.AfterFunc(pause, o.resume)
	}
	return out
}

// resume goes on with what paused.
func (o *outbox) resume() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.timed = false
	o.signal()
}

// drain sends until ctx ends or the stream breaks.
func (o *outbox) drain(ctx context.Context, s *sender) error {
	for {
		for _, m := range o.next() {
			if err := s.send(ctx, m); err != nil {
				return err
			}
		}
		select {
		case <-o.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// sender lets two goroutines use one stream.
type sender struct {
	mu     sync.Mutex
	stream fleetv1.FleetService_SessionClient
}

func (s *sender) send(ctx context.Context, m *fleetv1.SessionRequest) error {
	s.mu.Lock()
	err := s.stream.Send(m)
	s.mu.Unlock()
	if errors.Is(err, io.EOF) {
		// Only Recv knows why the stream ended; let the receiver say it.
		<-ctx.Done()
		return ctx.Err()
	}
	return err
}
