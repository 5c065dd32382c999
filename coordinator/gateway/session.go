package gateway

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"

	"github.com/slipway-ci/slipway/coordinator/engine"
	"github.com/slipway-ci/slipway/coordinator/identity"
	"github.com/slipway-ci/slipway/coordinator/logs"
	"github.com/slipway-ci/slipway/internal/apart"
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
	// why it ended, as the agent is told; nil while it lives.
	why  atomic.Pointer[error]
	call ender

	said    condition
	silence *silence
	// leave and uncertify stop what would end the session.
	leave, uncertify func() bool
}

// ender is what the transport's stream of a call can do besides what gRPC says of it: end the call before its handler returns, which then finds its
// context over. So a handler may wait in Recv and be told to stop, without a goroutine that does the one while it does the other.
type ender interface {
	WriteStatus(s *status.Status) error
}

// Session implements fleetv1.FleetServiceServer. Its goroutine waits in Recv for as long as the agent is there, and its stack is a quarter of what an
// idle agent costs: whatever goes deep is done apart.
func (g *Gateway) Session(stream sessionStream) error {
	s, err := g.open(stream)
	if err != nil {
		return err
	}
	defer s.close()
	s.end(s.serve())
	return s.cause()
}

func (g *Gateway) open(stream sessionStream) (*session, error) {
	ctx := stream.Context()
	call, ok := grpc.ServerTransportStreamFromContext(ctx).(ender)
	if !ok {
		return nil, rpcerr.New(rpcerr.Internal, "this gRPC has no way to end a session: its transport's streams are without WriteStatus")
	}
	s := &session{g: g, id: g.NewID(), agent: identity.FromContext(ctx), stream: stream, ctx: ctx, call: call}
	s.log = g.Log.With("agent", s.agent.Agent.ID, "session", s.id)
	s.in = newInbox(s.ctx, s.handle, s.end)
	s.out = newOutbox(s.send, s.end)
	s.silence = newSilence(g.Clock, g.Agents, s.end)
	s.leave = context.AfterFunc(g.life(), func() { s.end(rpcerr.New(rpcerr.NotLeader, "the coordinator ends this session; connect again")) })
	// The certificate's end is the session's: a connection must not outlive what it was let in with.
	s.uncertify = g.Clock.AfterFunc(s.agent.Expires.Sub(g.Clock.Now()), func() {
		s.end(rpcerr.New(rpcerr.Unauthenticated, "the agent's certificate has ended; connect again with a renewed one"))
	})
	return s, nil
}

// close lets go of what open made.
func (s *session) close() {
	s.end(nil)
	s.leave()
	s.uncertify()
	s.silence.quiet()
}

// serve takes requests off the stream until it or the session ends.
func (s *session) serve() error {
	m, err := s.recv()
	if err != nil {
		return err
	}
	if m.GetHello() == nil {
		return rpcerr.New(rpcerr.InvalidRequest, "a session begins with Hello")
	}
	// Also if Connect fails: the engine may have begun the session although nobody waits for its answer any more.
	defer s.disconnect()
	apart.Do(func() { err = s.connect(m.GetHello()) })
	for err == nil {
		if m, err = s.recv(); err == nil {
			err = s.receive(m)
		}
	}
	s.end(err)
	return err
}

// disconnect tells the engine. The end comes first: the sender may wait for the stream.
func (s *session) disconnect() {
	s.end(nil)
	s.out.close()
	s.g.Control.Disconnect(s.agent.Agent.ID, s.id)
	s.log.Info("a session ended", "cause", s.cause())
}

// recv returns the next request. It fails once the session has ended.
func (s *session) recv() (*fleetv1.SessionRequest, error) {
	m, err := s.stream.Recv()
	if err == nil {
		err = s.ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	s.silence.heard()
	return m, nil
}

// end ends the session for a reason, if it lives. It does not wait.
func (s *session) end(why error) {
	if s.why.Load() != nil {
		return
	}
	if errors.Is(why, io.EOF) {
		why = nil
	}
	why = s.g.internal("a session", why)
	if !s.why.CompareAndSwap(nil, &why) {
		return
	}
	said, ok := status.FromError(why)
	if !ok {
		said = status.FromContextError(why) // as gRPC does
	}
	if err := s.call.WriteStatus(said); err != nil {
		s.log.Warn("an agent can't be told that its session ended", "error", err)
	}
}

// send is the outbox's way onto the stream.
func (s *session) send(m *fleetv1.SessionResponse) error {
	if m.GetOffer() != nil {
		s.silence.hurry()
	}
	return s.stream.Send(m)
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
		SessionId: s.id, LiveAttempts: live, HeartbeatMs: s.g.Agents.Heartbeat.Std().Milliseconds(),
		IdleHeartbeatMs: s.g.Agents.IdleHeartbeat.Std().Milliseconds(), GraceMs: s.g.Agents.Grace.Std().Milliseconds(),
	}}})
	s.log.Info("a session began", "hostname", hello.GetHostname(), "version", hello.GetVersion(), "live", len(live))
	return nil
}

// cause is why the session ended, as the agent is told.
func (s *session) cause() error {
	if why := s.why.Load(); why != nil {
		return *why
	}
	return nil
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
