// Package relay joins two streams that the coordinator is called with: that of somebody who wants a command in a held pod, and the one that the
// pod's agent opens for it, as agents only dial out. Nothing is stored, and nothing queues: a message is taken from one stream when the other has
// taken the one before, so that gRPC's flow control reaches from end to end.
package relay

import (
	"context"
	"sync"

	"google.golang.org/grpc"

	"github.com/slipway-ci/slipway/internal/rpcerr"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

// AgentStream is the agent's end.
type AgentStream = grpc.BidiStreamingServer[fleetv1.AttachRequest, fleetv1.AttachResponse]

// Relay knows who waits for an agent. The zero value is ready. Safe for concurrent use.
type Relay struct {
	mu      sync.Mutex
	waiting map[string]*Meeting
}

// Meeting is one session, until it is left.
type Meeting struct {
	r  *Relay
	id string
	// agent that may come, known once allowed is closed.
	agent   string
	allowed chan struct{}
	came    chan AgentStream
	over    chan struct{}
	leave   sync.Once
	taken   bool
}

// Expect begins a session; Leave ends it.
func (r *Relay) Expect(sessionID string) *Meeting {
	m := &Meeting{r: r, id: sessionID, allowed: make(chan struct{}), came: make(chan AgentStream, 1), over: make(chan struct{})}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waiting == nil {
		r.waiting = map[string]*Meeting{}
	}
	r.waiting[sessionID] = m
	return m
}

// Agent returns the stream of an agent, once it is there. From Leave on it must not be used.
func (m *Meeting) Agent(ctx context.Context) (AgentStream, error) {
	select {
	case s := <-m.came:
		return s, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Leave lets the agent's call return.
func (m *Meeting) Leave() {
	m.leave.Do(func() {
		m.r.mu.Lock()
		delete(m.r.waiting, m.id)
		m.r.mu.Unlock()
		close(m.over)
	})
}

// For says which agent may come; nobody else is let in. Call it once.
func (m *Meeting) For(agentID string) {
	m.r.mu.Lock()
	defer m.r.mu.Unlock()
	m.agent = agentID
	close(m.allowed)
}

// Attach brings an agent's stream to its session and returns when that is over.
func (r *Relay) Attach(sessionID, agentID string, stream AgentStream) error {
	r.mu.Lock()
	m := r.waiting[sessionID]
	r.mu.Unlock()
	if m != nil { // the agent may be quicker than the answer that names it
		select {
		case <-m.allowed:
		case <-m.over:
		case <-stream.Context().Done():
		}
	}
	r.mu.Lock()
	if m == nil || m.taken || m.agent != agentID {
		r.mu.Unlock()
		return rpcerr.New(rpcerr.NotFound, "nobody waits in session %.64q for agent %s", sessionID, agentID)
	}
	m.taken = true
	m.came <- stream
	r.mu.Unlock()
	select {
	case <-m.over:
		return nil
	case <-stream.Context().Done():
		// Whoever uses the stream finds it broken.
		return stream.Context().Err()
	}
}
