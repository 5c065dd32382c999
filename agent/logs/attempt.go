package logs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/slipway-ci/slipway/internal/bytestream"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

// Remote gives the connection to the coordinator.
type Remote interface {
	// Client blocks until there is a session, or ctx ends.
	Client(ctx context.Context) (fleetv1.FleetServiceClient, error)
}

// Config is what the logs of one attempt need.
type Config struct {
	AttemptID, Token string
	Remote           Remote
	Watcher          FileWatcher
	Log              *slog.Logger
	// OnAck is told what the store holds of a step's log; complete says that it is all. Called by one goroutine.
	OnAck func(step uint32, offset int64, complete bool)
	// OnBytes is told how many bytes were sent; may be nil.
	OnBytes func(n int)
	// Debug keeps the lines of ::debug:: in the logs. It must be the same whenever an attempt's logs are read again.
	Debug bool
}

// Attempt sends the logs of an attempt's steps over one stream at a time. Safe for concurrent use.
type Attempt struct {
	cfg    Config
	ctx    context.Context
	cancel context.CancelFunc
	done   chan struct{}
	wake   chan struct{}
	scans  sync.WaitGroup

	mu    sync.Mutex
	steps []*Step
	// finished logs are stored; some wait for Release.
	finished []*Step
	refused  error
	// waiters are closed when something was acknowledged or refused.
	waiters []chan struct{}
}

// New starts the pusher of an attempt; Close ends it.
func New(cfg Config) *Attempt {
	ctx, cancel := context.WithCancel(context.Background())
	a := &Attempt{cfg: cfg, ctx: ctx, cancel: cancel, done: make(chan struct{}), wake: make(chan struct{}, 1)}
	go a.run()
	return a
}

// Step begins to follow a raw output file, which is made if it is not there. masks are those known when the step began,
// acked is what the store holds already.
func (a *Attempt) Step(number uint32, path string, masks *Masks, acked int64) (*Step, error) {
	s, err := openStep(number, path, masks, a.cfg.Debug, acked, func() { notify(a.wake) })
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	a.steps = append(a.steps, s)
	a.mu.Unlock()
	a.scans.Go(func() { s.scan(a.cfg.Watcher) })
	return s, nil
}

// WaitAcked blocks until the store holds every log that was begun, it refused them for good (that error is returned),
// or ctx ends.
func (a *Attempt) WaitAcked(ctx context.Context) error {
	for {
		c := make(chan struct{})
		a.mu.Lock()
		refused, pending := a.refused, len(a.steps)
		if refused == nil && pending > 0 {
			a.waiters = append(a.waiters, c)
		}
		a.mu.Unlock()
		if refused != nil || pending == 0 {
			return refused
		}
		select {
		case <-c:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Close ends scanning and sending; files of logs that are not acknowledged stay for the next process.
func (a *Attempt) Close() {
	a.cancel()
	<-a.done
	a.mu.Lock()
	steps := append(a.steps, a.finished...)
	a.steps, a.finished = nil, nil
	a.mu.Unlock()
	for _, s := range steps {
		s.abort()
	}
	a.scans.Wait()
	for _, s := range steps {
		s.mu.Lock()
		s.closeLocked()
		s.mu.Unlock()
	}
}

func (a *Attempt) run() {
	defer close(a.done)
	for failures := 0; a.ctx.Err() == nil; {
		err := a.stream(&failures)
		if a.ctx.Err() != nil {
			return
		}
		if a.gap(err) {
			failures++
			a.sleep(backoff(failures))
			continue
		}
		if permanent(err) {
			a.cfg.Log.Warn("the coordinator refuses this attempt's logs", "error", err)
			a.refuse(fmt.Errorf("logs: refused: %w", err))
			return
		}
		failures++
		// That a session ended is said by the session.
		a.cfg.Log.Debug("log stream broke; it will be opened again", "error", err)
		a.sleep(backoff(failures))
	}
}

// gap says whether the store holds less of a log than it once acknowledged, and goes back to where it wants to go on.
func (a *Attempt) gap(err error) bool {
	want, ok := rpcerr.Detail[*fleetv1.PushLogsResponse](err)
	if !ok {
		return false
	}
	a.cfg.Log.Error("the log store lost bytes that it had acknowledged; sending them again", "step", want.GetStep(), "from", want.GetOffset())
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range a.steps {
		if s.number == want.GetStep() {
			s.goBack(want.GetOffset())
			return true
		}
	}
	return false
}

// permanent says whether trying again can't help.
func permanent(err error) bool {
	switch status.Code(err) {
	case codes.PermissionDenied, codes.NotFound, codes.InvalidArgument, codes.Aborted, codes.Unimplemented:
		return true
	default:
		return errors.Is(err, errLocal)
	}
}

// errLocal: this host can't read its own files.
var errLocal = errors.New("logs: local failure")

func backoff(failures int) time.Duration {
	d := min(5*time.Second, 50*time.Millisecond<<min(failures, 10))
	return d/2 + rand.N(d/2)
}

func (a *Attempt) sleep(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-a.ctx.Done():
	}
}

// stream opens one stream when there is something to send, and sends until it breaks.
func (a *Attempt) stream(failures *int) error {
	if !a.waitPending() {
		return a.ctx.Err()
	}
	client, err := a.cfg.Remote.Client(a.ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(a.ctx)
	defer cancel(nil)
	stream, err := client.PushLogs(ctx)
	if err != nil {
		return err
	}
	a.mu.Lock()
	for _, s := range a.steps {
		s.restart()
	}
	a.mu.Unlock()
	received := make(chan struct{})
	go func() {
		defer close(received)
		cancel(a.receive(stream, failures))
	}()
	err = a.send(ctx, stream)
	// The receiver knows the stream's status; the sender only that it broke.
	if errors.Is(err, errLocal) {
		cancel(err)
	}
	<-received
	return context.Cause(ctx)
}

// waitPending blocks until a log has something to send; false if the attempt was closed.
func (a *Attempt) waitPending() bool {
	for {
		a.dropEmpty()
		a.mu.Lock()
		pending := slices.ContainsFunc(a.steps, (*Step).pending)
		a.mu.Unlock()
		if pending {
			return true
		}
		select {
		case <-a.wake:
		case <-a.ctx.Done():
			return false
		}
	}
}

// dropEmpty is through with logs that ended without a byte: the attempt's final report says so, and the store has nothing to keep.
func (a *Attempt) dropEmpty() {
	a.mu.Lock()
	defer a.mu.Unlock()
	before := len(a.steps)
	a.steps = slices.DeleteFunc(a.steps, (*Step).completeEmpty)
	if len(a.steps) < before {
		a.releaseLocked()
	}
}

func (s *Step) pending() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.complete && (s.length > s.acked || s.finalLocked())
}

func (a *Attempt) send(ctx context.Context, stream fleetv1.FleetService_PushLogsClient) error {
	for {
		sent, err := a.sendPending(stream)
		if err != nil {
			return err
		}
		if sent {
			continue
		}
		select {
		case <-a.wake:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// sendPending sends one chunk of each log that has one, so that no step starves another.
func (a *Attempt) sendPending(stream fleetv1.FleetService_PushLogsClient) (sent bool, err error) {
	a.dropEmpty()
	a.mu.Lock()
	steps := slices.Clone(a.steps)
	a.mu.Unlock()
	for _, s := range steps {
		// gRPC may keep the message after Send returns, so every chunk has its own memory.
		buf := make([]byte, min(bytestream.Chunk, max(0, s.unsent())))
		offset, data, end, ok, err := s.chunk(buf)
		if err != nil {
			return false, fmt.Errorf("%w: %w", errLocal, err)
		}
		if !ok {
			continue
		}
		err = stream.Send(&fleetv1.PushLogsRequest{
			AttemptId: a.cfg.AttemptID, Token: a.cfg.Token, Step: s.number, Offset: offset, Data: data, End: end,
		})
		if err != nil {
			return false, err
		}
		sent = true
		if a.cfg.OnBytes != nil {
			a.cfg.OnBytes(len(data))
		}
	}
	return sent, nil
}

func (s *Step) unsent() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.length - s.sent
}

func (a *Attempt) receive(stream fleetv1.FleetService_PushLogsClient, failures *int) error {
	for {
		r, err := stream.Recv()
		if err != nil {
			return err
		}
		*failures = 0
		a.acked(r.GetStep(), r.GetOffset())
	}
}

func (a *Attempt) acked(number uint32, offset int64) {
	a.mu.Lock()
	i := slices.IndexFunc(a.steps, func(s *Step) bool { return s.number == number })
	if i < 0 {
		a.mu.Unlock()
		return
	}
	s := a.steps[i]
	a.mu.Unlock()
	news, complete := s.ack(offset)
	// Before WaitAcked returns: who waited may forget the attempt, and nothing must be noted of it then.
	if news {
		a.cfg.OnAck(number, offset, complete)
	}
	if !complete {
		return
	}
	s.remove()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.steps = slices.DeleteFunc(a.steps, func(x *Step) bool { return x == s })
	a.finished = append(slices.DeleteFunc(a.finished, (*Step).gone), s)
	a.releaseLocked()
}

func (a *Attempt) refuse(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refused = err
	a.releaseLocked()
}

func (a *Attempt) releaseLocked() {
	for _, c := range a.waiters {
		close(c)
	}
	a.waiters = nil
}
