package gateway

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/slipway-ci/slipway/coordinator/engine"
	"github.com/slipway-ci/slipway/coordinator/identity"
	"github.com/slipway-ci/slipway/coordinator/logs"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	"github.com/slipway-ci/slipway/internal/tlsutil"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

type sessionStream = grpc.BidiStreamingServer[fleetv1.SessionRequest, fleetv1.SessionResponse]

// session is one connection of one agent.
type session struct {
	g      *Gateway
	id     string
	agent  identity.Principal
	stream sessionStream
	out    *outbox
	in     *inbox
	log    *slog.Logger

	ctx context.Context //nolint:containedctx // the life of the session
	end context.CancelCauseFunc

	said condition

	mu    sync.Mutex
	alarm func() bool // stops the timer of the silence deadline
	last  time.Time   // when something was heard
	over  bool
}

// Session implements fleetv1.FleetServiceServer.
func (g *Gateway) Session(stream sessionStream) error {
	s := &session{g: g, id: g.NewID(), agent: identity.FromContext(stream.Context()), stream: stream, out: newOutbox()}
	s.log = g.Log.With("agent", s.agent.Agent.ID, "session", s.id)
	s.ctx, s.end = context.WithCancelCause(stream.Context())
	defer s.end(nil)
	s.in = newInbox(s.ctx, s.handle, s.end)
	defer context.AfterFunc(g.life(), func() { s.end(rpcerr.New(rpcerr.NotLeader, "the coordinator ends this session; connect again")) })()

	s.heard()
	defer s.quiet()
	// The certificate's end is the session's: a connection must not outlive what it was let in with.
	left := s.agent.Expires.Sub(g.Clock.Now())
	defer g.Clock.AfterFunc(left, func() {
		s.end(rpcerr.New(rpcerr.Unauthenticated, "the agent's certificate has ended; connect again with a renewed one"))
	})()

	hellos := make(chan *fleetv1.Hello, 1)
	go s.read(hellos)
	var hello *fleetv1.Hello
	select {
	case <-s.ctx.Done():
		return s.cause()
	case hello = <-hellos:
	}
	// Also if Connect fails: the engine may have begun the session although nobody waits for its answer any more.
	defer g.Control.Disconnect(s.agent.Agent.ID, s.id)
	defer s.out.End(errors.New("the session has ended"))
	if err := s.connect(hello); err != nil {
		return err
	}
	// Here and not in a goroutine of its own: the stacks are most of what an idle agent costs.
	if err := s.out.run(s.ctx.Done(), stream.Send); err != nil {
		s.end(err)
	}
	<-s.ctx.Done()
	s.log.Info("a session ended", "cause", s.cause())
	return s.cause()
}

func (s *session) connect(hello *fleetv1.Hello) error {
	if err := errors.Join(tlsutil.CheckName("host name", hello.GetHostname()), tlsutil.CheckName("version", hello.GetVersion())); err != nil {
		return rpcerr.New(rpcerr.InvalidRequest, "starting a session: %v", err)
	}
	agent := s.agent.Agent
	live, err := s.g.Control.Connect(s.ctx, engine.Session{
		ID: s.id, AgentID: agent.ID, Hostname: hello.GetHostname(), Version: hello.GetVersion(), Pool: agent.Pool, Labels: agent.Labels,
		Capacity: hello.GetCapacity(), Attempts: hello.GetAttempts(), Drain: hello.GetDrain(), Problems: hello.GetProblems(),
		Abilities: hello.GetAbilities(),
	}, s.out)
	if err != nil {
		return s.g.internal("starting a session", err)
	}
	s.out.open(&fleetv1.SessionResponse{Message: &fleetv1.SessionResponse_Welcome{Welcome: &fleetv1.Welcome{
		SessionId: s.id, LiveAttempts: live, HeartbeatMs: s.g.Agents.Heartbeat.Std().Milliseconds(), GraceMs: s.g.Agents.Grace.Std().Milliseconds(),
	}}})
	s.log.Info("a session began", "hostname", hello.GetHostname(), "version", hello.GetVersion(), "live", len(live))
	return nil
}

// cause is why the session ended, as the agent is told.
func (s *session) cause() error {
	err := context.Cause(s.ctx)
	if errors.Is(err, io.EOF) || err == nil {
		return nil
	}
	return s.g.internal("a session", err)
}

// heard puts the silence deadline off. The timer runs on, and looks when it fires whether it is too early: one for each message would cost more
// than to read it.
func (s *session) heard() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = s.g.Clock.Now()
	if s.alarm == nil {
		s.arm(s.g.Agents.Deadline.Std())
	}
}

// arm is called with mu held.
func (s *session) arm(left time.Duration) {
	s.alarm = s.g.Clock.AfterFunc(left, s.silent)
}

func (s *session) silent() {
	s.mu.Lock()
	defer s.mu.Unlock()
	deadline := s.g.Agents.Deadline.Std()
	if left := s.last.Add(deadline).Sub(s.g.Clock.Now()); left > 0 && !s.over {
		s.arm(left)
		return
	}
	s.end(rpcerr.New(rpcerr.Busy, "nothing was heard of this session for %v; connect again", deadline.Round(time.Millisecond)))
}

func (s *session) quiet() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	s.alarm()
}

// read takes requests off the stream until it or the session ends. It is not waited for: Recv returns when the handler has.
func (s *session) read(hellos chan<- *fleetv1.Hello) {
	for first := true; ; first = false {
		m, err := s.stream.Recv()
		if err != nil {
			s.end(err)
			return
		}
		if s.ctx.Err() != nil {
			return
		}
		s.heard()
		if first {
			if m.GetHello() == nil {
				s.end(rpcerr.New(rpcerr.InvalidRequest, "a session begins with Hello"))
				return
			}
			hellos <- m.GetHello()
			continue
		}
		if err := s.receive(m); err != nil {
			s.end(err)
			return
		}
	}
}

func (s *session) receive(m *fleetv1.SessionRequest) error {
	switch x := m.GetMessage().(type) {
	case *fleetv1.SessionRequest_Heartbeat:
		s.heartbeat(x.Heartbeat)
		return nil
	case *fleetv1.SessionRequest_Drain:
		s.g.Control.AgentDrains(s.agent.Agent.ID, s.id, x.Drain)
		return nil
	case *fleetv1.SessionRequest_OfferReply:
		return s.in.put(x.OfferReply.GetAttemptId(), m)
	case *fleetv1.SessionRequest_Report:
		return s.in.put(x.Report.GetAttemptId(), m)
	case *fleetv1.SessionRequest_Hello:
		return rpcerr.New(rpcerr.InvalidRequest, "a second Hello in a session")
	}
	return unknownMessage(m.GetMessage())
}

// handle gives one message about an attempt to the engine. An error ends the session; the agent repeats what was not acknowledged.
func (s *session) handle(m *fleetv1.SessionRequest) error {
	if r := m.GetOfferReply(); r != nil {
		return s.offerReply(r)
	}
	return s.report(m.GetReport())
}

func (s *session) offerReply(r *fleetv1.OfferReply) error {
	if a := s.out.offer(r.GetAttemptId()); a != nil && r.GetAccepted() {
		// Before the engine hears of it, so that whatever follows finds the attempt known to the log store.
		err := s.g.Logs.Register(logs.Meta{Run: a.GetRunId(), Job: a.GetJobId(), Attempt: a.GetAttemptId(), Agent: s.agent.Agent.ID, TokenHash: tlsutil.HashToken(a.GetToken())})
		if err != nil {
			return err
		}
	}
	return s.fenced(r.GetAttemptId(), s.g.Control.OfferReply(s.ctx, s.id, r))
}

func (s *session) report(r *corev1.Report) error {
	if r.GetState() == corev1.AttemptState_ATTEMPT_STATE_DONE {
		sums := make([]logs.Sum, 0, len(r.GetLogs()))
		for _, l := range r.GetLogs() {
			sums = append(sums, logs.Sum{Step: l.GetStep(), Length: l.GetLength(), SHA256: l.GetSha256()})
		}
		meta, err := s.g.Logs.Meta(r.GetAttemptId())
		if err == nil && meta.Agent == s.agent.Agent.ID {
			err = s.g.Logs.Finish(r.GetAttemptId(), sums)
		}
		if err != nil && !errors.Is(err, logs.ErrUnknownAttempt) && !errors.Is(err, logs.ErrBadName) {
			return err
		}
	}
	err := s.g.Control.Report(s.ctx, s.id, r)
	if err == nil {
		s.out.Send(&fleetv1.SessionResponse{Message: &fleetv1.SessionResponse_ReportAck{ReportAck: &fleetv1.ReportAck{AttemptId: r.GetAttemptId(), Seq: r.GetSeq()}}})
	}
	return s.fenced(r.GetAttemptId(), err)
}

// fenced tells the agent to kill an attempt that is not its any more; the session goes on.
func (s *session) fenced(attemptID string, err error) error {
	if rpcerr.ReasonOf(err) != rpcerr.Fenced {
		return err
	}
	s.log.Warn("an attempt is fenced", "attempt", attemptID, "error", err)
	s.out.Send(&fleetv1.SessionResponse{Message: &fleetv1.SessionResponse_Kill{Kill: &fleetv1.Kill{AttemptId: attemptID, Reason: rpcerr.Message(err)}}})
	return nil
}
