package api_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/slipway-ci/slipway/coordinator/internal/coordtest"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

// debugRig is a coordinator with a held job, and an agent that is asked into it.
type debugRig struct {
	*coordtest.Harness
	t     *testing.T
	agent fleetv1.FleetServiceClient
	asks  <-chan *fleetv1.Attach
	user  apiv1.DebugServiceClient
}

func newDebugRig(t *testing.T) *debugRig {
	t.Helper()
	h := coordtest.New(t, coordtest.Options{})
	id, conn := h.Agent()
	r := &debugRig{Harness: h, t: t, agent: fleetv1.NewFleetServiceClient(conn), user: apiv1.NewDebugServiceClient(h.User("ada"))}
	session, err := r.agent.Session(t.Context())
	if err == nil {
		err = session.Send(&fleetv1.SessionRequest{Message: &fleetv1.SessionRequest_Hello{Hello: &fleetv1.Hello{Hostname: "h", Version: "v"}}})
	}
	if err == nil {
		_, err = session.Recv()
	}
	if err != nil {
		t.Fatal(err)
	}
	asks := make(chan *fleetv1.Attach, 1)
	r.asks = asks
	go func() {
		for {
			m, err := session.Recv()
			if err != nil {
				return
			}
			if a := m.GetAttach(); a != nil {
				asks <- a
			}
		}
	}()
	h.Control.Hold("run/test", &coordtest.HeldJob{Agent: id, Attempt: "at1"})
	return r
}

func (r *debugRig) open(ctx context.Context) grpc.BidiStreamingClient[apiv1.DebugRequest, apiv1.DebugResponse] {
	r.t.Helper()
	s, err := r.user.Debug(ctx)
	if err == nil {
		err = s.Send(&apiv1.DebugRequest{Message: &apiv1.DebugRequest_Open{Open: &apiv1.DebugOpen{RunId: "run", JobId: "test", Command: []string{"cat"}}}})
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// attach is the agent's answer.
func (r *debugRig) attach() grpc.BidiStreamingClient[fleetv1.AttachRequest, fleetv1.AttachResponse] {
	r.t.Helper()
	a := <-r.asks
	s, err := r.agent.Attach(r.t.Context())
	if err == nil {
		err = s.Send(&fleetv1.AttachRequest{SessionId: a.GetSessionId()})
	}
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// closed waits for the record of the session's end.
func (r *debugRig) closed() string {
	r.t.Helper()
	for deadline := time.After(2 * time.Minute); ; {
		select {
		case e := <-r.Control.Events:
			if strings.HasPrefix(e, "close debug") {
				return e
			}
		case <-deadline:
			r.t.Fatal("the session is not closed")
		}
	}
}

func TestDebugJoinsUserAndAgent(t *testing.T) {
	r := newDebugRig(t)
	user := r.open(t.Context())
	agent := r.attach()
	if m, err := user.Recv(); err != nil || m.GetOpened().GetJobId() != "test" {
		t.Fatalf("%v %v", m, err)
	}
	if err := user.Send(&apiv1.DebugRequest{Message: &apiv1.DebugRequest_Input{Input: &corev1.TerminalInput{Data: []byte("hello"), End: true}}}); err != nil {
		t.Fatal(err)
	}
	if m, err := agent.Recv(); err != nil || string(m.GetInput().GetData()) != "hello" || !m.GetInput().GetEnd() {
		t.Fatalf("%v %v", m, err)
	}
	for _, out := range []*corev1.TerminalOutput{{Stdout: []byte("hello")}, {Stderr: []byte("x")}, {Exit: &corev1.TerminalExit{Code: 3}}} {
		if err := agent.Send(&fleetv1.AttachRequest{Output: out}); err != nil {
			t.Fatal(err)
		}
	}
	var text string
	for {
		m, err := user.Recv()
		if err != nil {
			t.Fatal(err)
		}
		text += string(m.GetOutput().GetStdout()) + string(m.GetOutput().GetStderr())
		if exit := m.GetOutput().GetExit(); exit != nil {
			if exit.GetCode() != 3 {
				t.Errorf("%v", exit)
			}
			break
		}
	}
	if _, err := user.Recv(); !errors.Is(err, io.EOF) || text != "hellox" {
		t.Errorf("%q, then %v", text, err)
	}
	if _, err := agent.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("the agent's call ends with %v", err)
	}
	if e := r.closed(); e != "close debug test 3 " {
		t.Errorf("%q", e)
	}
}

// Whichever side goes, the other's call ends, and the end is recorded. That no goroutine is left, the package's TestMain sees.
func TestDebugEndsWithEitherSide(t *testing.T) {
	r := newDebugRig(t)
	ctx, leave := context.WithCancel(t.Context())
	user := r.open(ctx)
	agent := r.attach()
	if _, err := user.Recv(); err != nil {
		t.Fatal(err)
	}
	leave()
	if _, err := agent.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("the agent's call ends with %v", err)
	}
	if e := r.closed(); !strings.Contains(e, "-1 whoever was in it left") {
		t.Errorf("%q", e)
	}
	user = r.open(t.Context())
	agent = r.attach()
	if _, err := user.Recv(); err != nil {
		t.Fatal(err)
	}
	if err := agent.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := user.Recv(); rpcerr.ReasonOf(err) != rpcerr.AgentAway {
		t.Errorf("the user's call ends with %v", err)
	}
	if e := r.closed(); !strings.Contains(e, "the connection of the agent broke") {
		t.Errorf("%q", e)
	}
}

// A side that reads nothing holds the other up: what is on its way is bounded by gRPC's windows, nothing queues in the coordinator.
func TestDebugHoldsBackWhoIsTooFast(t *testing.T) {
	r := newDebugRig(t)
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	user := r.open(ctx)
	agent := r.attach()
	if _, err := user.Recv(); err != nil {
		t.Fatal(err)
	}
	sent := make(chan int)
	go func() {
		n := 0
		for agent.Send(&fleetv1.AttachRequest{Output: &corev1.TerminalOutput{Stdout: make([]byte, 32<<10)}}) == nil {
			if n++; n == 4096 { // 128 MiB
				break
			}
			select {
			case sent <- n:
			case <-ctx.Done():
			}
		}
		close(sent)
	}()
	most := 0
	for quiet := false; !quiet; {
		select {
		case n, more := <-sent:
			most, quiet = max(most, n), !more
		case <-time.After(2 * time.Second):
			quiet = true
		}
	}
	if most >= 4000 {
		t.Errorf("%d messages of 32 KiB went to a user who reads nothing", most)
	}
	leave()
	r.closed()
	for range sent { //nolint:revive // until the agent's call has ended
	}
}

func TestDebugRefusals(t *testing.T) {
	r := newDebugRig(t)
	s, err := r.user.Debug(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Send(&apiv1.DebugRequest{Message: &apiv1.DebugRequest_Open{Open: &apiv1.DebugOpen{RunId: "run", JobId: "other"}}}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Recv(); rpcerr.ReasonOf(err) != rpcerr.NotHeld {
		t.Errorf("%v", err)
	}
	stranger, err := r.agent.Attach(t.Context())
	if err == nil {
		err = stranger.Send(&fleetv1.AttachRequest{SessionId: "nobody's"})
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stranger.Recv(); rpcerr.ReasonOf(err) != rpcerr.NotFound {
		t.Errorf("%v", err)
	}
}
