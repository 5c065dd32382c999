package fleet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/slipway-ci/slipway/internal/tlsutil"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

// agent is one session. A single goroutine answers; another one sends heartbeats.
type agent struct {
	f    *Fleet
	name string
	pair *tls.Certificate
	ca   []byte

	mu     sync.Mutex // a stream takes one Send at a time
	stream grpc.BidiStreamingClient[fleetv1.SessionRequest, fleetv1.SessionResponse]
	// busy: it was offered work since the last look.
	busy atomic.Bool
}

// The numbers of the two reports about an attempt.
const (
	seqRunning = 1
	seqDone    = 2
)

func (a *agent) run(ctx context.Context, welcomed chan<- error) error {
	conn, welcome, err := a.connect(ctx)
	select {
	case welcomed <- err:
	case <-ctx.Done():
	}
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	var beats sync.WaitGroup
	defer beats.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	beats.Go(func() { a.beat(ctx, welcome) })
	for {
		m, err := a.stream.Recv()
		if err == nil {
			err = a.answer(m)
		}
		if err != nil {
			if ctx.Err() != nil {
				return nil //nolint:nilerr // it was told to end
			}
			return fmt.Errorf("fleet: the session of %s: %w", a.name, err)
		}
	}
}

func (a *agent) connect(ctx context.Context) (io.Closer, *fleetv1.Welcome, error) {
	conf, err := tlsutil.ClientTLS(a.ca, func() (*tls.Certificate, error) { return a.pair, nil })
	if err != nil {
		return nil, nil, err
	}
	// The windows are those of a real agent, see agent/session.
	conn, err := grpc.NewClient(a.f.c.Address, grpc.WithTransportCredentials(credentials.NewTLS(conf)), grpc.WithInitialWindowSize(1<<20), grpc.WithInitialConnWindowSize(4<<20))
	if err != nil {
		return nil, nil, err
	}
	welcome, err := a.hello(ctx, conn)
	if err != nil {
		_ = conn.Close()
		return nil, nil, fmt.Errorf("fleet: %s: %w", a.name, err)
	}
	return conn, welcome, nil
}

func (a *agent) hello(ctx context.Context, conn *grpc.ClientConn) (*fleetv1.Welcome, error) {
	stream, err := fleetv1.NewFleetServiceClient(conn).Session(ctx)
	if err != nil {
		return nil, err
	}
	a.stream = stream
	hello := &fleetv1.Hello{Hostname: a.name, Version: "bench", Capacity: &fleetv1.Capacity{Slots: uint32(a.f.c.Slots)}}
	if err := stream.Send(&fleetv1.SessionRequest{Message: &fleetv1.SessionRequest_Hello{Hello: hello}}); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	m, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	return m.GetWelcome(), nil
}

func (a *agent) send(m *fleetv1.SessionRequest) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.stream.Send(m)
}

// beat says that the agent lives, as agent/session does.
func (a *agent) beat(ctx context.Context, w *fleetv1.Welcome) {
	every := time.Duration(w.GetHeartbeatMs()) * time.Millisecond
	t := time.NewTicker(every)
	defer t.Stop()
	for next := every; ; next -= every {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		idle := !a.busy.Swap(false)
		if idle && next > every {
			continue
		}
		h := &fleetv1.Heartbeat{DiskFree: 1 << 40}
		if next = every; idle && w.GetIdleHeartbeatMs() > w.GetHeartbeatMs() {
			h.NextMs = w.GetIdleHeartbeatMs()
			next += time.Duration(h.NextMs) * time.Millisecond
		}
		if a.send(&fleetv1.SessionRequest{Message: &fleetv1.SessionRequest_Heartbeat{Heartbeat: h}}) != nil {
			return
		}
	}
}

func (a *agent) answer(m *fleetv1.SessionResponse) error {
	switch m := m.GetMessage().(type) {
	case *fleetv1.SessionResponse_Offer:
		a.busy.Store(true)
		return a.begin(m.Offer.GetAssignment())
	case *fleetv1.SessionResponse_ReportAck:
		if m.ReportAck.GetSeq() == seqRunning {
			return a.finish(m.ReportAck.GetAttemptId())
		}
		a.f.stats.finished.Add(1)
	case *fleetv1.SessionResponse_Kill:
		return fmt.Errorf("attempt %s was killed: %s", m.Kill.GetAttemptId(), m.Kill.GetReason())
	}
	return nil
}

func (a *agent) begin(job *fleetv1.Assignment) error {
	a.f.stats.offered(job.GetContexts())
	reply := &fleetv1.OfferReply{AttemptId: job.GetAttemptId(), Accepted: true}
	if err := a.send(&fleetv1.SessionRequest{Message: &fleetv1.SessionRequest_OfferReply{OfferReply: reply}}); err != nil {
		return err
	}
	now := time.Now().UnixMilli()
	return a.report(&corev1.Report{AttemptId: job.GetAttemptId(), Seq: seqRunning, State: corev1.AttemptState_ATTEMPT_STATE_RUNNING,
		Steps: []*corev1.StepStatus{{Number: 1, Name: "Run true", State: corev1.StepState_STEP_STATE_RUNNING, StartedMs: now}}})
}

func (a *agent) finish(attempt string) error {
	now := time.Now().UnixMilli()
	return a.report(&corev1.Report{AttemptId: attempt, Seq: seqDone, State: corev1.AttemptState_ATTEMPT_STATE_DONE, Result: corev1.Result_RESULT_SUCCESS,
		Steps: []*corev1.StepStatus{{Number: 1, Name: "Run true", State: corev1.StepState_STEP_STATE_SUCCEEDED, Outcome: corev1.Result_RESULT_SUCCESS,
			Conclusion: corev1.Result_RESULT_SUCCESS, StartedMs: now, EndedMs: now}}})
}

func (a *agent) report(r *corev1.Report) error {
	return a.send(&fleetv1.SessionRequest{Message: &fleetv1.SessionRequest_Report{Report: r}})
}
