package gateway

import (
	"sync"

	"github.com/slipway-ci/slipway/internal/rpcerr"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

// maxBusy bounds the attempts of one session that wait for the engine at once.
const maxBusy = 1024

// inbox handles each attempt's messages in order and different attempts side by side. A report that waits is replaced by a newer one.
type inbox struct {
	handle func(*fleetv1.SessionRequest) error
	// failed is called with the first error; the session ends.
	failed func(error)

	mu      sync.Mutex
	waiting map[string][]*fleetv1.SessionRequest // by attempt; present while one of its messages is being handled
	group   sync.WaitGroup
}

func newInbox(handle func(*fleetv1.SessionRequest) error, failed func(error)) *inbox {
	return &inbox{handle: handle, failed: failed, waiting: map[string][]*fleetv1.SessionRequest{}}
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
		i.group.Go(func() { i.work(attemptID, m) })
		return nil
	}
	if n := len(queue); n > 0 && m.GetReport() != nil && queue[n-1].GetReport() != nil {
		if queue[n-1].GetReport().GetSeq() <= m.GetReport().GetSeq() {
			queue[n-1] = m
		}
		return nil
	}
	if len(queue) >= maxBusy {
		return rpcerr.New(rpcerr.Busy, "%d messages about attempt %s wait for the coordinator", len(queue), attemptID)
	}
	i.waiting[attemptID] = append(queue, m)
	return nil
}

func (i *inbox) work(attemptID string, m *fleetv1.SessionRequest) {
	for {
		if err := i.handle(m); err != nil {
			i.failed(err)
		}
		i.mu.Lock()
		queue := i.waiting[attemptID]
		if len(queue) == 0 {
			delete(i.waiting, attemptID)
			i.mu.Unlock()
			return
		}
		m, i.waiting[attemptID] = queue[0], queue[1:]
		i.mu.Unlock()
	}
}

// wait returns when nothing is being handled. Nobody may put meanwhile.
func (i *inbox) wait() { i.group.Wait() }
