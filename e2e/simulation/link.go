package simulation

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

// brokenAfter is when an agent gives up a connection on which nothing gets through (TCP_USER_TIMEOUT).
const brokenAfter = 12 * time.Second

// link is the connection of one session, from one life of an agent to one life of a coordinator.
type link struct {
	w      *world
	id     int
	a      *agentProc
	c      *coordinator
	client *clientStream
	server *serverStream
	// The loop's: what is on its way, in order.
	toServer, toClient wire
	serverOver         bool
	clientOver         bool
}

// wire is one direction of a link: when what was sent last gets there.
type wire struct{ last time.Duration }

// arrives draws when what is sent now gets there: never before what was sent earlier.
func (w *wire) arrives(l *link) time.Duration {
	lp := l.w.l
	d := lp.between(100*time.Microsecond, 4*time.Millisecond)
	if lp.chance(0.03 * l.w.net.faults) {
		d = lp.between(10*time.Millisecond, 3*time.Second)
	}
	w.last = max(w.last, lp.now+d)
	return w.last - lp.now
}

// network is what lies between agents and coordinators.
type network struct {
	// faults scales delays and losses of single messages.
	faults float64
	// cut pairs of agent and coordinator.
	cut   map[string]bool
	links []*link
	next  int
}

func pair(a *node, c *node) string { return a.name + "-" + c.name }

func (n *network) reaches(a, c *node) bool { return !n.cut[pair(a, c)] }

// clientStream is the agent's end.
type clientStream struct {
	grpc.ClientStream
	l   *link
	ctx context.Context
	in  chan *fleetv1.SessionResponse
	// over is closed when the stream has ended for the agent; then err says why.
	over chan struct{}
	err  error

	mu  sync.Mutex
	out []*fleetv1.SessionRequest
}

// Context implements grpc.ClientStream.
func (s *clientStream) Context() context.Context { return s.ctx }

// Send implements the stream.
func (s *clientStream) Send(m *fleetv1.SessionRequest) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.over:
		return io.EOF
	default:
	}
	s.out = append(s.out, m)
	return nil
}

// Recv implements the stream.
func (s *clientStream) Recv() (*fleetv1.SessionResponse, error) {
	select {
	case m := <-s.in:
		return m, nil
	default:
	}
	select {
	case m := <-s.in:
		return m, nil
	case <-s.over:
		return nil, s.err
	case <-s.ctx.Done():
		return nil, status.FromContextError(s.ctx.Err()).Err()
	}
}

// serverStream is the coordinator's end.
type serverStream struct {
	grpc.ServerStream
	l      *link
	ctx    context.Context
	cancel context.CancelFunc
	in     chan *fleetv1.SessionRequest

	mu  sync.Mutex
	out []*fleetv1.SessionResponse
}

// Context implements grpc.ServerStream.
func (s *serverStream) Context() context.Context { return s.ctx }

// Send implements the stream.
func (s *serverStream) Send(m *fleetv1.SessionResponse) error {
	if err := s.ctx.Err(); err != nil {
		return status.FromContextError(err).Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out = append(s.out, m)
	return nil
}

// Recv implements the stream.
func (s *serverStream) Recv() (*fleetv1.SessionRequest, error) {
	select {
	case m := <-s.in:
		return m, nil
	case <-s.ctx.Done():
		return nil, status.FromContextError(s.ctx.Err()).Err()
	}
}

// transportStream is what gRPC has below a stream.
type transportStream struct{ *serverStream }

// Method implements grpc.ServerTransportStream.
func (transportStream) Method() string { return fleetv1.FleetService_Session_FullMethodName }

// SetTrailer implements grpc.ServerTransportStream.
func (transportStream) SetTrailer(metadata.MD) error { return nil }

// WriteStatus ends the call. The status is what the handler returns a moment later.
func (s transportStream) WriteStatus(*status.Status) error {
	s.cancel()
	return nil
}

// window is how many messages a stream holds that nobody has received.
const window = 4096

// open connects an agent to a coordinator; the handler begins when the first packet gets there.
func (n *network) open(ctx context.Context, a *agentProc, c *coordinator) *link {
	n.next++
	l := &link{w: a.w, id: n.next, a: a, c: c}
	l.client = &clientStream{l: l, ctx: ctx, in: make(chan *fleetv1.SessionResponse, window), over: make(chan struct{})}
	sctx, cancel := context.WithCancel(c.life)
	l.server = &serverStream{l: l, ctx: sctx, cancel: cancel, in: make(chan *fleetv1.SessionRequest, window)}
	n.links = append(n.links, l)
	context.AfterFunc(ctx, func() { a.w.l.park(fmt.Sprintf("link/%06d/left", l.id), l.left) })
	c.after(l.toServer.arrives(l), func() { c.serve(l) })
	return l
}

// left: the agent has ended the connection by itself.
func (l *link) left() {
	if l.clientOver {
		return
	}
	l.clientOver = true
	l.hangUp(l.toServer.arrives(l))
}

// hangUp lets the coordinator see the connection's end after a while.
func (l *link) hangUp(d time.Duration) {
	l.w.l.after(d, func() {
		if !l.serverOver && l.w.net.reaches(l.a.node, l.c.node) {
			l.c.mine(l.server.cancel)()
		}
	})
}

// returned: the coordinator's handler has ended.
func (l *link) returned(err error) {
	l.serverOver = true
	l.server.cancel()
	if err == nil {
		err = io.EOF
	}
	l.deliver(func() { l.broken(err) })
}

// broken ends the connection for the agent.
func (l *link) broken(err error) {
	if l.clientOver {
		return
	}
	l.clientOver = true
	l.client.err = err
	close(l.client.over)
}

// reset ends the connection for both, each in its time; what is on its way is lost.
func (l *link) reset() {
	l.a.after(l.w.l.between(0, 200*time.Millisecond), func() { l.broken(errReset) })
	l.hangUp(l.w.l.between(0, 3*time.Second))
}

var errReset = status.Error(codes.Unavailable, "simulated: the connection was reset")

// deliver does something at the agent's end, in order with what was sent before.
func (l *link) deliver(f func()) { l.travel(l.toClient.arrives(l), l.a.mine(f)) }

// travel waits while the network is cut; a connection that was stalled for too long carries nothing any more.
func (l *link) travel(d time.Duration, f func()) {
	l.w.l.after(d, func() {
		if l.w.net.reaches(l.a.node, l.c.node) {
			f()
			return
		}
		l.toServer.last, l.toClient.last = max(l.toServer.last, l.w.l.now+100*time.Millisecond), max(l.toClient.last, l.w.l.now+100*time.Millisecond)
		l.travel(100*time.Millisecond, f)
	})
}

// collect takes what was sent since the last time. What several goroutines sent at one time is put in an order by content.
func (n *network) collect() {
	live := n.links[:0]
	for _, l := range n.links {
		l.collectRequests()
		l.collectResponses()
		if !l.clientOver || !l.serverOver {
			live = append(live, l)
		}
	}
	clear(n.links[len(live):])
	n.links = live
}

func (l *link) collectRequests() {
	l.client.mu.Lock()
	out := l.client.out
	l.client.out = nil
	l.client.mu.Unlock()
	if len(out) == 0 || l.clientOver {
		return
	}
	for _, m := range orderRequests(out) {
		l.noteReport(m)
		l.sendRequest(m)
		if l.w.l.chance(0.02*l.w.net.faults) && m.GetHello() == nil {
			l.sendRequest(m) // twice
		}
	}
}

func (l *link) sendRequest(m *fleetv1.SessionRequest) {
	d := l.toServer.arrives(l)
	if m.GetReport() != nil && l.w.l.chance(0.02*l.w.net.faults) {
		d += l.w.l.between(0, time.Second) // overtaken by others
	}
	l.travel(d, l.c.mine(func() {
		if l.serverOver {
			return
		}
		select {
		case l.server.in <- m:
		default:
			l.w.l.fail("a coordinator does not read a session")
		}
	}))
}

func (l *link) noteReport(m *fleetv1.SessionRequest) {
	switch {
	case m.GetReport() != nil:
		r := m.GetReport()
		l.w.hist.add(l.a.name, []string{r.GetAttemptId()}, "reports %s seq %d %s%s", r.GetAttemptId(), r.GetSeq(), attemptWord{r.GetState()}, resultWord{r.GetResult()})
		if r.GetState() == corev1.AttemptState_ATTEMPT_STATE_DONE {
			l.w.check.results[r.GetAttemptId()] = r.GetResult()
		}
	case m.GetOfferReply() != nil:
		r := m.GetOfferReply()
		l.w.hist.add(l.a.name, []string{r.GetAttemptId()}, "answers the offer of %s: %t %s", r.GetAttemptId(), r.GetAccepted(), r.GetReason())
	case m.GetHello() != nil:
		l.w.hist.add(l.a.name, nil, "says hello to %s in link %d, holds %v", l.c.name, l.id, m.GetHello().GetAttempts())
	}
}

type attemptWord struct{ s corev1.AttemptState }

func (w attemptWord) String() string { return short(w.s.String()) }

type resultWord struct{ r corev1.Result }

func (w resultWord) String() string {
	if w.r == corev1.Result_RESULT_UNSPECIFIED {
		return ""
	}
	return " " + strings.ToLower(w.r.String())
}

func (l *link) collectResponses() {
	l.server.mu.Lock()
	out := l.server.out
	l.server.out = nil
	l.server.mu.Unlock()
	for _, m := range orderResponses(out) {
		l.noteResponse(m)
		deliver := func() {
			l.deliver(func() {
				if l.clientOver {
					return
				}
				select {
				case l.client.in <- m:
				default:
					l.w.l.fail("an agent does not read a session")
				}
			})
		}
		deliver()
		if ack := m.GetReportAck(); ack != nil && l.w.l.chance(0.02*l.w.net.faults) {
			deliver()
		}
	}
}

func (l *link) noteResponse(m *fleetv1.SessionResponse) {
	switch {
	case m.GetWelcome() != nil:
		l.w.hist.add(l.c.name, nil, "welcomes %s in link %d, live %v", l.a.name, l.id, m.GetWelcome().GetLiveAttempts())
	case m.GetOffer() != nil:
		a := m.GetOffer().GetAssignment()
		l.w.hist.add(l.c.name, []string{a.GetRunId(), a.GetAttemptId()}, "offers attempt %s of job %s/%s to %s", a.GetAttemptId(), a.GetRunId(), a.GetJobId(), l.a.name)
	case m.GetCancel() != nil:
		l.w.hist.add(l.c.name, []string{m.GetCancel().GetAttemptId()}, "cancels attempt %s on %s", m.GetCancel().GetAttemptId(), l.a.name)
	case m.GetKill() != nil:
		l.w.hist.add(l.c.name, []string{m.GetKill().GetAttemptId()}, "kills attempt %s on %s: %s", m.GetKill().GetAttemptId(), l.a.name, m.GetKill().GetReason())
	case m.GetReportAck() != nil:
		a := m.GetReportAck()
		l.w.hist.add(l.c.name, []string{a.GetAttemptId()}, "acknowledges seq %d of %s", a.GetSeq(), a.GetAttemptId())
		l.w.check.acked(a.GetAttemptId(), a.GetSeq())
	}
}
