package api

import (
	"context"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/slipway-ci/slipway/coordinator/engine"
	"github.com/slipway-ci/slipway/coordinator/identity"
	"github.com/slipway-ci/slipway/coordinator/relay"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

const (
	// attachPatience is how long an agent may take to come to a session.
	attachPatience = 45 * time.Second
	// silence is how long a client may say nothing: it sends a keepalive every 15 s.
	silence = time.Minute
	// closePatience is how long the record of a session's end may take.
	closePatience = 10 * time.Second
	// maxChunk of input in one message, in bytes; maxArgs of a command, together.
	maxChunk, maxArgs = 32 << 10, 64 << 10
)

// debug implements apiv1.DebugServiceServer.
type debug struct {
	apiv1.UnimplementedDebugServiceServer
	Deps
}

type debugStream = grpc.BidiStreamingServer[apiv1.DebugRequest, apiv1.DebugResponse]

// visit is one session on its way.
type visit struct {
	s       *debug
	stream  debugStream
	agent   relay.AgentStream
	meeting *relay.Meeting
	in, out atomic.Int64
}

// Debug implements apiv1.DebugServiceServer.
func (s *debug) Debug(stream debugStream) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	open := first.GetOpen()
	if err := checkOpen(open); err != nil {
		return err
	}
	ctx, end := context.WithCancelCause(stream.Context())
	defer end(nil)
	id := s.NewID()
	v := &visit{s: s, stream: stream, meeting: s.Relay.Expect(id)}
	defer v.meeting.Leave()
	ticket, err := s.Control.OpenDebug(ctx, engine.DebugRequest{SessionID: id, Run: open.GetRunId(), Job: open.GetJobId(),
		User: identity.FromContext(ctx).Name, Command: open.GetCommand(), Step: open.GetStep(), TTY: open.GetTty(), Term: open.GetTerm(), Size: open.GetSize(), End: func(reason error) { end(reason) }})
	if err != nil {
		return s.internal("opening a debug session", err)
	}
	exit, err := v.run(ctx, end, ticket, id)
	v.meeting.Leave()
	s.close(ctx, engine.DebugEnd{SessionID: id, RunID: ticket.RunID, JobID: ticket.JobID, ExitCode: exit.GetCode(), Ended: endedBecause(exit, err),
		BytesIn: v.in.Load(), BytesOut: v.out.Load()})
	if rpcerr.ReasonOf(err) == "" {
		return nil // whoever called is gone
	}
	return err
}

func checkOpen(open *apiv1.DebugOpen) error {
	size := len(open.GetTerm()) + len(open.GetRunId()) + len(open.GetJobId())
	for _, arg := range open.GetCommand() {
		size += len(arg) + 1
	}
	switch {
	case open == nil:
		return rpcerr.New(rpcerr.InvalidRequest, "a debug session begins with open")
	case size > maxArgs:
		return rpcerr.New(rpcerr.InvalidRequest, "the command has %d bytes, more than %d", size, maxArgs)
	case len(open.GetCommand()) > 0 && open.GetCommand()[0] == "":
		return rpcerr.New(rpcerr.InvalidRequest, "the command is empty")
	}
	return nil
}

func endedBecause(exit *corev1.TerminalExit, err error) string {
	switch {
	case err == nil:
		return exit.GetMessage()
	case rpcerr.ReasonOf(err) == "":
		return "whoever was in it left"
	}
	return rpcerr.Message(err)
}

// close writes the end of a session down, whatever became of its call.
func (s *debug) close(ctx context.Context, end engine.DebugEnd) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closePatience)
	defer cancel()
	if end.Ended != "" && end.ExitCode == 0 {
		end.ExitCode = -1
	}
	if err := s.Control.CloseDebug(ctx, end); err != nil {
		s.Log.WarnContext(ctx, "the end of a debug session is not recorded; the next leader notes that it has none", "session", end.SessionID, "error", err)
	}
}

// run carries the session from its ticket to its end.
func (v *visit) run(ctx context.Context, end context.CancelCauseFunc, ticket engine.DebugTicket, id string) (*corev1.TerminalExit, error) {
	v.meeting.For(ticket.AgentID)
	wait, cancel := context.WithTimeoutCause(ctx, attachPatience, rpcerr.New(rpcerr.AgentAway, "agent %s did not answer in %v; it may be of a version without debug sessions", ticket.Hostname, attachPatience))
	var err error
	v.agent, err = v.meeting.Agent(wait)
	cancel()
	if err != nil {
		return nil, err
	}
	opened := &apiv1.DebugOpened{SessionId: id, RunId: ticket.RunID, JobId: ticket.JobID, Held: ticket.Held, Agent: ticket.AgentID, Hostname: ticket.Hostname}
	if err := v.stream.Send(&apiv1.DebugResponse{Message: &apiv1.DebugResponse_Opened{Opened: opened}}); err != nil {
		return nil, err
	}
	alarm := v.s.Clock.AfterFunc(silence, func() { end(errSilent) })
	defer func() { alarm() }()
	heard := make(chan struct{}, 1)
	// Neither is waited for: both return once the two calls have.
	go func() { end(v.receive(heard)) }()
	exits := make(chan *corev1.TerminalExit, 1)
	go func() {
		exit, err := v.send()
		if exit != nil {
			exits <- exit
			return
		}
		end(err)
	}()
	for {
		select {
		case exit := <-exits:
			return exit, nil
		case <-heard:
			alarm()
			alarm = v.s.Clock.AfterFunc(silence, func() { end(errSilent) })
		case <-ctx.Done():
			select {
			case exit := <-exits: // the client may be quicker to leave than the last word to be seen
				return exit, nil
			default:
			}
			return nil, context.Cause(ctx)
		case <-ticket.Over:
			return nil, rpcerr.New(rpcerr.NotLeader, "the coordinator's leader has changed; the pod is held on, enter it again")
		case <-v.s.Stop:
			return nil, stopped()
		}
	}
}

var errSilent = rpcerr.New(rpcerr.SessionEnded, "nothing was heard of the client for %v", silence)

// receive takes the client's input to the agent.
func (v *visit) receive(heard chan<- struct{}) error {
	for {
		m, err := v.stream.Recv()
		if err != nil {
			return err
		}
		select {
		case heard <- struct{}{}:
		default:
		}
		in := m.GetInput()
		switch {
		case m.GetKeepalive() != nil:
			continue
		case in == nil:
			return rpcerr.New(rpcerr.InvalidRequest, "unexpected message in a debug session")
		case len(in.GetData()) > maxChunk:
			return rpcerr.New(rpcerr.InvalidRequest, "%d bytes of input in one message, more than %d", len(in.GetData()), maxChunk)
		}
		v.in.Add(int64(len(in.GetData())))
		if err := v.agent.Send(&fleetv1.AttachResponse{Input: in}); err != nil {
			return errAgentBroke
		}
	}
}

var errAgentBroke = rpcerr.New(rpcerr.AgentAway, "the connection of the agent broke; the pod is held on, enter it again when the agent is back")

// send takes the agent's output to the client, and returns with the exit.
func (v *visit) send() (*corev1.TerminalExit, error) {
	for {
		m, err := v.agent.Recv()
		if err != nil {
			return nil, errAgentBroke
		}
		out := m.GetOutput()
		v.out.Add(int64(len(out.GetStdout()) + len(out.GetStderr())))
		if err := v.stream.Send(&apiv1.DebugResponse{Message: &apiv1.DebugResponse_Output{Output: out}}); err != nil {
			return nil, err
		}
		if out.GetExit() != nil {
			return out.GetExit(), nil
		}
	}
}

// ReleaseJob implements apiv1.DebugServiceServer.
func (s *debug) ReleaseJob(ctx context.Context, req *apiv1.ReleaseJobRequest) (*apiv1.ReleaseJobResponse, error) {
	if err := checkRequestID(req.GetRequestId()); err != nil {
		return nil, err
	}
	job, err := s.Control.ReleaseJob(ctx, req.GetRunId(), req.GetJobId(), identity.FromContext(ctx).Name)
	if err != nil {
		return nil, s.internal("releasing a job", err)
	}
	return &apiv1.ReleaseJobResponse{JobId: job}, nil
}
