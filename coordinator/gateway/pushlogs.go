package gateway

import (
	"context"
	"crypto/subtle"
	"errors"
	"io"
	"sync"

	"google.golang.org/grpc"

	"github.com/slipway-ci/slipway/coordinator/engine"
	"github.com/slipway-ci/slipway/coordinator/identity"
	"github.com/slipway-ci/slipway/coordinator/logs"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	"github.com/slipway-ci/slipway/internal/tlsutil"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

type logStream = grpc.BidiStreamingServer[fleetv1.PushLogsRequest, fleetv1.PushLogsResponse]

// maxOpen bounds the logs that one stream writes at once: each has a file open.
const maxOpen = 1024

// logKey is one log of a push stream.
type logKey struct {
	attempt string
	step    uint32
}

// openLog is a log that the stream writes.
type openLog struct {
	w     *logs.Writer
	ended bool
	// writing: a write is under way, so it must stay open.
	writing bool
}

// push is one PushLogs stream. One goroutine writes, another syncs and acknowledges: while it waits for the disk, all that arrives
// collects into its next round.
type push struct {
	g      *Gateway
	stream logStream
	// allowed holds the token under which an attempt was let in, by attempt.
	allowed map[string]string

	mu    sync.Mutex
	open  map[logKey]*openLog
	dirty map[logKey]bool
	done  bool // nothing more will be written
	wake  chan struct{}
}

// PushLogs implements fleetv1.FleetServiceServer. A gap ends the stream with INVALID_REQUEST and, as detail, a PushLogsResponse with the
// offset that is wanted.
func (g *Gateway) PushLogs(stream logStream) error {
	p := &push{g: g, stream: stream, allowed: map[string]string{}, open: map[logKey]*openLog{}, dirty: map[logKey]bool{}, wake: make(chan struct{}, 1)}
	received, acked := make(chan error, 1), make(chan error, 1)
	var receiving sync.WaitGroup
	receiving.Go(func() { received <- p.receive() })
	go func() { acked <- p.acknowledge() }()
	var err error
	select {
	case err = <-received:
		p.finish()
		if ackErr := <-acked; err == nil {
			err = ackErr
		}
		p.close()
	case err = <-acked:
		// The disk or the stream failed, and the sender may be waiting for an answer that will not come: end the stream now. Its Recv
		// returns once this handler has.
		go func() {
			receiving.Wait()
			p.close()
		}()
	}
	return g.internal("storing logs", err)
}

func (p *push) close() {
	for _, l := range p.open {
		l.w.Close()
	}
}

func (p *push) receive() error {
	for {
		m, err := p.stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := p.write(m); err != nil {
			return err
		}
	}
}

func (p *push) write(m *fleetv1.PushLogsRequest) error {
	if err := p.allow(m); err != nil {
		return err
	}
	key := logKey{attempt: m.GetAttemptId(), step: m.GetStep()}
	l, err := p.log(key)
	if err != nil {
		return err
	}
	err = l.w.Append(m.GetOffset(), m.GetData(), m.GetEnd())
	var gap *logs.GapError
	switch {
	case errors.As(err, &gap):
		return rpcerr.WithDetails(rpcerr.InvalidRequest, err.Error(), &fleetv1.PushLogsResponse{AttemptId: key.attempt, Step: key.step, Offset: gap.Want})
	case errors.Is(err, logs.ErrEnded):
		return rpcerr.New(rpcerr.InvalidRequest, "attempt %s, step %d: %v", key.attempt, key.step, err)
	case err != nil:
		return err
	}
	if p.g.LogBytes != nil {
		p.g.LogBytes(float64(len(m.GetData())))
	}
	p.mark(key, m.GetEnd())
	return nil
}

// allow checks the token, once for each attempt of the stream.
func (p *push) allow(m *fleetv1.PushLogsRequest) error {
	if token, ok := p.allowed[m.GetAttemptId()]; ok && token == m.GetToken() {
		return nil
	}
	ctx := p.stream.Context()
	ref, err := p.g.attempt(ctx, m.GetAttemptId(), m.GetToken())
	if err != nil {
		if !p.g.mayStillPush(ctx, m, err) {
			return err
		}
	} else if err := p.g.register(ctx, ref, m.GetToken()); err != nil {
		return err
	}
	p.allowed[m.GetAttemptId()] = m.GetToken()
	return nil
}

func (g *Gateway) register(ctx context.Context, ref engine.AttemptRef, token string) error {
	return g.Logs.Register(logs.Meta{Run: ref.RunID, Job: ref.JobID, Attempt: ref.AttemptID, Agent: identity.FromContext(ctx).Agent.ID, TokenHash: tlsutil.HashToken(token)})
}

// mayStillPush lets the last bytes of an attempt in that has ended meanwhile: its agent took them from a step, so they must not be lost.
func (g *Gateway) mayStillPush(ctx context.Context, m *fleetv1.PushLogsRequest, denied error) bool {
	if rpcerr.ReasonOf(denied) != rpcerr.PermissionDenied {
		return false
	}
	meta, err := g.Logs.Meta(m.GetAttemptId())
	return err == nil && meta.Agent == identity.FromContext(ctx).Agent.ID &&
		subtle.ConstantTimeCompare([]byte(meta.TokenHash), []byte(tlsutil.HashToken(m.GetToken()))) == 1
}

func (p *push) log(key logKey) (*openLog, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if l := p.open[key]; l != nil {
		l.writing = true
		return l, nil
	}
	if len(p.open) >= maxOpen {
		return nil, rpcerr.New(rpcerr.Busy, "%d logs of this stream have not ended; open it again and send the rest of them first", len(p.open))
	}
	w, err := p.g.Logs.Writer(key.attempt, key.step)
	if errors.Is(err, logs.ErrBadName) {
		return nil, rpcerr.New(rpcerr.InvalidRequest, "%v", err)
	}
	if err != nil {
		return nil, err
	}
	l := &openLog{w: w, writing: true}
	p.open[key] = l
	return l, nil
}

func (p *push) mark(key logKey, ended bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dirty[key] = true
	l := p.open[key]
	l.ended = l.ended || ended
	l.writing = false
	p.signal()
}

func (p *push) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done = true
	p.signal()
}

func (p *push) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// take returns the logs that were written since the last round.
func (p *push) take() (dirty map[logKey]bool, done bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	dirty = p.dirty
	p.dirty = map[logKey]bool{}
	return dirty, p.done
}

func (p *push) acknowledge() error {
	for range p.wake {
		dirty, done := p.take()
		for key := range dirty {
			if err := p.sync(key); err != nil {
				return err
			}
		}
		if done {
			break
		}
	}
	return nil
}

func (p *push) sync(key logKey) error {
	p.mu.Lock()
	l := p.open[key]
	ended := l.ended
	p.mu.Unlock()
	durable, err := l.w.Sync()
	if err != nil {
		return err
	}
	err = p.stream.Send(&fleetv1.PushLogsResponse{AttemptId: key.attempt, Step: key.step, Offset: durable})
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if ended && !p.dirty[key] && !l.writing { // a repeat opens it again
		l.w.Close()
		delete(p.open, key)
	}
	return nil
}
