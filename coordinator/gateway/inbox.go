package gateway

import (
	"context"
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/slipway-ci/slipway/internal/rpcerr"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

const (
	// maxBusy bounds the attempts of one session that wait for the engine at once, and the messages behind them.
	maxBusy = 1024
	// maxWaiting bounds the bytes of those messages: a session must not fill the coordinator's memory while a commit is slow.
	maxWaiting = 64 << 20
)

// inbox handles each attempt's messages in order and different attempts side by side, until ctx ends. A report that waits is replaced by a
// newer one.
type inbox struct {
	ctx    context.Context //nolint:containedctx // the life of the session
	handle func(*fleetv1.SessionRequest) error
	// failed is called with the errors of handle; the session ends.
	failed func(error)

	mu      sync.Mutex
	waiting map[string][]*fleetv1.SessionRequest // by attempt; present while one of its messages is being handled
	queued  int
	bytes   int
}

func newInbox(ctx context.Context, handle func(*fleetv1.SessionRequest) error, failed func(error)) *inbox {
	return &inbox{ctx: ctx, handle: handle, failed: failed, waiting: map[string][]*fleetv1.SessionRequest{}}
}

// put takes a message about an attempt. It does not wait for the engine.
func (i *inbox) put(attemptID string, m *fleetv1.SessionRequest) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	queue, busy := i.waiting[attemptID]
	if !busy {
		if len(i.waiting) >= maxBusy {
			return rpcerr.New(rpcerr.Busy, "%d attempts of this session wait for the coordinator; connect again later", len(i.waiting))
		}
		i.waiting[attemptID] = nil
		go i.work(attemptID, m)
		return nil
	}
	if n := len(queue); n > 0 && m.GetReport() != nil && queue[n-1].GetReport() != nil {
		if queue[n-1].GetReport().GetSeq() > m.GetReport().GetSeq() {
			return nil
		}
		i.count(queue[n-1], -1)
		queue = queue[:n-1]
	}
	i.count(m, 1)
	if i.queued > maxBusy || i.bytes > maxWaiting {
		return rpcerr.New(rpcerr.Busy, "%d messages of this session, %d bytes, wait for the coordinator; connect again later", i.queued, i.bytes)
	}
	i.waiting[attemptID] = append(queue, m)
	return nil
}

// count adds a message to what waits, or takes it off. The caller holds mu.
func (i *inbox) count(m *fleetv1.SessionRequest, sign int) {
	i.queued += sign
	i.bytes += sign * proto.Size(m)
}

func (i *inbox) work(attemptID string, m *fleetv1.SessionRequest) {
	for m != nil && i.ctx.Err() == nil {
		if err := i.handle(m); err != nil {
			i.failed(err)
		}
		m = i.next(attemptID)
	}
}

// next returns what waits for an attempt; nil, and the attempt is not busy any more, if there is nothing.
func (i *inbox) next(attemptID string) *fleetv1.SessionRequest {
	i.mu.Lock()
	defer i.mu.Unlock()
	queue := i.waiting[attemptID]
	if len(queue) == 0 {
		delete(i.waiting, attemptID)
		return nil
	}
	i.waiting[attemptID] = queue[1:]
	i.count(queue[0], -1)
	return queue[0]
}
