// Package session is the agent's connection to its coordinator: one registration at a time. Any error ends it whole, and
// a new one begins, with a jittered delay. Jobs live on meanwhile; what they report is kept until it is acknowledged.
//
//	dial ──► Hello ──► Welcome(live attempts) ──► heartbeats, reports ⇄ offers, cancels, kills, acks ──► any error
//	  ▲                                                                                                    │
//	  └────────────────────────────────── jittered delay ◄─────────────────────────────────────────────────┘
package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/slipway-ci/slipway/internal/clock"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

// Handler is what a session tells the rest of the agent. Calls come one at a time, in order, from the receiving
// goroutine: they must not block on the network.
type Handler interface {
	// Held returns the attempts that the agent still holds, for Hello.
	Held() []string
	// Welcome names which of them live on; every other one is to be killed. It is the first call of a session.
	Welcome(live []string)
	// Offer takes or refuses an attempt.
	Offer(a *fleetv1.Assignment) (accepted bool, reason string)
	// Cancel asks for an orderly end.
	Cancel(attemptID, reason string)
	// Kill says that the attempt is fenced.
	Kill(attemptID, reason string)
	// Acked says that a report with this number, or an earlier one, is committed.
	Acked(attemptID string, seq uint64)
	// Hold sets how much longer the pod of an attempt that is done may be held; 0 ends it, for reason.
	Hold(attemptID string, left time.Duration, reason string)
	// Attach asks for a command in a held pod.
	Attach(a *fleetv1.Attach)
}

// Config is what a client needs.
type Config struct {
	Address     string
	Credentials *Credentials
	Hostname    string
	Version     string
	Capacity    *fleetv1.Capacity
	// Abilities are what pools' policies may ask of this host; nil says nothing.
	Abilities *fleetv1.Abilities
	// DiskFree returns bytes; it must not block.
	DiskFree func() int64
	// Condition returns how many attempts the agent holds, and what is wrong with it; it must not block. nil says nothing of either.
	Condition func() (held int, problems []string)
	// Leased is whether an attempt lives on a lease; Renew is then told of each heartbeat that the coordinator acknowledged, when it
	// was sent. Both must not block; nil: there are no leases.
	Leased  func() bool
	Renew   func(sent time.Time)
	Handler Handler
	Clock   clock.Clock
	// Jitter spreads the returns of a fleet: a duration in [0, d). nil is random.
	Jitter func(d time.Duration) time.Duration
	Log    *slog.Logger
	// Dial makes a connection in place of Address and Credentials, for simulations; its certificate is never renewed. nil dials Address.
	Dial func() (fleetv1.FleetServiceClient, io.Closer, error)
	// DialOptions are added to every connection (telemetry).
	DialOptions []grpc.DialOption
	// OnState is told when a session begins and ends; may be nil.
	OnState func(connected bool)
}

// Client keeps one session alive. Safe for concurrent use.
type Client struct {
	cfg    Config
	outbox *outbox

	mu sync.Mutex
	// current is the connection of the live session, nil between sessions.
	current fleetv1.FleetServiceClient
	// leaving is set once the agent stops.
	leaving *leaving
	// changed is closed and replaced whenever current is set.
	changed chan struct{}
}

// New returns a client; Run connects it.
func New(cfg Config) *Client {
	c := &Client{cfg: cfg, outbox: newOutbox(cfg.Clock), changed: make(chan struct{})}
	if c.cfg.Jitter == nil {
		c.cfg.Jitter = rand.N[time.Duration]
	}
	if c.cfg.Dial == nil {
		c.cfg.Dial = c.dial
	}
	return c
}

const (
	firstDelay = 200 * time.Millisecond
	// maxDelay spreads a fleet's return over half a minute: a handshake costs the coordinator 0.7 ms of CPU.
	maxDelay = 30 * time.Second
	// helloTimeout is how long a coordinator may take to answer Hello.
	helloTimeout = 20 * time.Second
)

// errRotated ends a session on purpose: the next one shows the new certificate.
var errRotated = errors.New("session: the certificate was renewed")

// Run keeps a session until ctx ends; that is no error.
func (c *Client) Run(ctx context.Context) error {
	for failures := 0; ctx.Err() == nil; {
		welcomed, err := c.once(ctx)
		if welcomed {
			failures = 0
		}
		switch {
		case ctx.Err() != nil:
		case errors.Is(err, errRotated):
			c.cfg.Log.Info("certificate renewed; reconnecting with it")
		default:
			if rpcerr.ReasonOf(err) == rpcerr.AgentRemoved {
				// Its attempts were given up then: nobody would ever say so in a Welcome, and nobody waits for them.
				c.cfg.Handler.Welcome(nil)
			}
			d := c.delay(failures)
			failures++
			c.cfg.Log.Warn("session ended", "error", rpcerr.Message(err), "reconnect_in", d)
			c.sleep(ctx, d)
		}
	}
	return nil
}

func (c *Client) delay(failures int) time.Duration {
	d := min(maxDelay, firstDelay<<min(failures, 10))
	return d/2 + c.cfg.Jitter(d/2)
}

func (c *Client) sleep(ctx context.Context, d time.Duration) {
	fired := make(chan struct{})
	stop := c.cfg.Clock.AfterFunc(d, func() { close(fired) })
	defer stop()
	select {
	case <-fired:
	case <-ctx.Done():
	}
}

// once runs one session to its end, and says whether it got as far as Welcome.
func (c *Client) once(ctx context.Context) (welcomed bool, err error) {
	client, conn, err := c.cfg.Dial()
	if err != nil {
		return false, err
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := c.cfg.Clock.AfterFunc(helloTimeout, func() { cancel(errors.New("the coordinator did not answer Hello")) })
	defer stop()
	stream, err := client.Session(ctx)
	if err != nil {
		return false, err
	}
	welcome, err := c.hello(stream)
	if err != nil {
		return false, causeOr(ctx, err)
	}
	stop()
	c.cfg.Log.Info("session begun", "session", welcome.GetSessionId(), "coordinator", c.cfg.Address, "live", len(welcome.GetLiveAttempts()))
	c.cfg.Handler.Welcome(welcome.GetLiveAttempts())
	c.setCurrent(client)
	defer c.setCurrent(nil)
	return true, c.serve(ctx, cancel, client, stream, paceOf(welcome))
}

func causeOr(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// The windows are given, so that gRPC does not measure the bandwidth with a ping for every message that comes: the coordinator has to answer them, of a
// whole fleet.
const streamWindow, connWindow = 1 << 20, 4 << 20

// dial connects by TLS.
func (c *Client) dial() (fleetv1.FleetServiceClient, io.Closer, error) {
	conf, err := c.cfg.Credentials.TLS()
	if err != nil {
		return nil, nil, fmt.Errorf("session: %w", err)
	}
	opts := append([]grpc.DialOption{
		grpc.WithTransportCredentials(credentials.NewTLS(conf)),
		grpc.WithContextDialer(dialTCP),
		grpc.WithInitialWindowSize(streamWindow), grpc.WithInitialConnWindowSize(connWindow),
	}, c.cfg.DialOptions...)
	conn, err := grpc.NewClient(c.cfg.Address, opts...)
	if err != nil {
		return nil, nil, fmt.Errorf("session: %w", err)
	}
	return fleetv1.NewFleetServiceClient(conn), conn, nil
}

// unackedLimit is how long the kernel may wait for the peer to acknowledge what was sent. A coordinator whose host vanished
// sends no reset: without this a session would hang for a quarter of an hour. Heartbeats see to it that there always is
// something to acknowledge.
const unackedLimit = 30 * time.Second

func dialTCP(ctx context.Context, address string) (net.Conn, error) {
	d := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		var serr error
		err := raw.Control(func(fd uintptr) {
			serr = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(unackedLimit.Milliseconds()))
		})
		return errors.Join(err, serr)
	}}
	return d.DialContext(ctx, "tcp", address)
}

func (c *Client) hello(stream fleetv1.FleetService_SessionClient) (*fleetv1.Welcome, error) {
	hello := &fleetv1.Hello{
		Hostname: c.cfg.Hostname, Version: c.cfg.Version, Capacity: c.cfg.Capacity, Attempts: c.cfg.Handler.Held(),
		Abilities: c.cfg.Abilities, Drain: c.drainLeft(), Problems: c.sign().GetProblems(),
	}
	if err := stream.Send(&fleetv1.SessionRequest{Message: &fleetv1.SessionRequest_Hello{Hello: hello}}); err != nil {
		// The status is in Recv.
		_, err = stream.Recv()
		return nil, err
	}
	first, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	w := first.GetWelcome()
	if w == nil {
		return nil, errors.New("session: the coordinator's first message is not Welcome")
	}
	return w, nil
}

// serve runs the goroutines of a session; the first to fail ends them all.
func (c *Client) serve(ctx context.Context, cancel context.CancelCauseFunc, client fleetv1.FleetServiceClient, stream fleetv1.FleetService_SessionClient, pace pace) error {
	c.outbox.begin()
	if d := c.drainLeft(); d != nil {
		// It may have begun after this session's Hello was sent.
		c.outbox.tell(&fleetv1.SessionRequest{Message: &fleetv1.SessionRequest_Drain{Drain: d}})
	}
	s, p, began := &sender{stream: stream}, &pulse{pace: pace, clock: c.cfg.Clock}, c.cfg.Clock.Now()
	var wg sync.WaitGroup
	wg.Go(func() { cancel(c.receive(stream, p, began)) })
	wg.Go(func() { cancel(c.outbox.drain(ctx, s)) })
	wg.Go(func() { cancel(p.beat(ctx, s, func() *fleetv1.Heartbeat { return c.heartbeat(began) })) })
	if c.cfg.Credentials != nil {
		wg.Go(func() { c.rotate(ctx, cancel, client) })
	}
	<-ctx.Done()
	wg.Wait()
	return context.Cause(ctx)
}

// rotate renews the certificate in time, then ends the session.
func (c *Client) rotate(ctx context.Context, cancel context.CancelCauseFunc, client fleetv1.FleetServiceClient) {
	for retry := time.Duration(0); ; retry = time.Minute {
		c.sleep(ctx, max(retry, c.cfg.Credentials.RenewIn(c.cfg.Clock.Now())))
		if ctx.Err() != nil {
			return
		}
		err := c.cfg.Credentials.Renew(ctx, client)
		if err == nil {
			cancel(errRotated)
			return
		}
		c.cfg.Log.Error("the certificate could not be renewed; trying again", "error", err)
	}
}

// heartbeat has the time that went by since the session began as its echo, so that the acknowledgement tells when it was sent.
func (c *Client) heartbeat(began time.Time) *fleetv1.Heartbeat {
	h := c.sign()
	if c.cfg.Leased != nil && c.cfg.Leased() {
		h.Echo = uint64(c.cfg.Clock.Now().Sub(began)) + 1
	}
	return h
}

func (c *Client) receive(stream fleetv1.FleetService_SessionClient, p *pulse, began time.Time) error {
	for {
		m, err := stream.Recv()
		if err != nil {
			return err
		}
		switch m := m.GetMessage().(type) {
		case *fleetv1.SessionResponse_Offer:
			p.offered()
			a := m.Offer.GetAssignment()
			accepted, reason := c.cfg.Handler.Offer(a)
			c.outbox.reply(&fleetv1.OfferReply{AttemptId: a.GetAttemptId(), Accepted: accepted, Reason: reason})
		case *fleetv1.SessionResponse_Cancel:
			c.cfg.Handler.Cancel(m.Cancel.GetAttemptId(), m.Cancel.GetReason())
		case *fleetv1.SessionResponse_Kill:
			c.outbox.forget(m.Kill.GetAttemptId())
			c.cfg.Handler.Kill(m.Kill.GetAttemptId(), m.Kill.GetReason())
		case *fleetv1.SessionResponse_HeartbeatAck:
			if echo := m.HeartbeatAck.GetEcho(); echo != 0 && c.cfg.Renew != nil {
				// Nothing that a coordinator says reaches into the future.
				c.cfg.Renew(began.Add(min(time.Duration(echo-1), c.cfg.Clock.Now().Sub(began))))
			}
		case *fleetv1.SessionResponse_ReportAck:
			c.outbox.acked(m.ReportAck.GetAttemptId(), m.ReportAck.GetSeq())
			c.cfg.Handler.Acked(m.ReportAck.GetAttemptId(), m.ReportAck.GetSeq())
		case *fleetv1.SessionResponse_Hold:
			c.cfg.Handler.Hold(m.Hold.GetAttemptId(), time.Duration(m.Hold.GetLeftMs())*time.Millisecond, m.Hold.GetReason())
		case *fleetv1.SessionResponse_Attach:
			c.cfg.Handler.Attach(m.Attach)
		default:
			// A newer coordinator may say more than this agent knows.
			c.cfg.Log.Debug("unknown message from the coordinator")
		}
	}
}

// Report keeps the newest state of an attempt and sends it, in this session or a later one, until it is acknowledged.
// It never blocks.
func (c *Client) Report(r *corev1.Report) { c.outbox.report(r) }

// Waiting is how many attempts have a report that is not acknowledged.
func (c *Client) Waiting() int { return c.outbox.waiting() }

// Forget drops the report of an attempt that the coordinator no longer wants to hear of.
func (c *Client) Forget(attemptID string) { c.outbox.forget(attemptID) }

// Client blocks until there is a session, or ctx ends.
func (c *Client) Client(ctx context.Context) (fleetv1.FleetServiceClient, error) {
	for {
		c.mu.Lock()
		client, changed := c.current, c.changed
		c.mu.Unlock()
		if client != nil {
			return client, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("session: waiting for the coordinator: %w", context.Cause(ctx))
		}
	}
}

func (c *Client) setCurrent(client fleetv1.FleetServiceClient) {
	c.mu.Lock()
	c.current = client
	close(c.changed)
	c.changed = make(chan struct{})
	c.mu.Unlock()
	if c.cfg.OnState != nil {
		c.cfg.OnState(client != nil)
	}
}
