package remote

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/slipway-ci/slipway/agent/supervisor/proto"
)

// Ready waits until the supervisor is connected and has the pod's base.
func (s *Supervisor) Ready(ctx context.Context) error {
	return s.wait(ctx, func() (bool, error) { return s.conn != nil && s.ready, nil })
}

// Knocked waits until somebody has connected, who waits for Trust to be let in: the supervisor, as long as nothing else can run
// in its container.
func (s *Supervisor) Knocked(ctx context.Context) error {
	select {
	case <-s.knocked:
		return nil
	case <-s.closed:
		return ErrClosed
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Start has the supervisor start a step and returns once its process runs or has ended. Idempotent by the step's id: the
// request is repeated over a new connection until an answer comes. It returns early only for ctx or Close. The files stay the
// caller's; group is what step.Group describes, and an older supervisor does without it.
func (s *Supervisor) Start(ctx context.Context, step *proto.Step, output, record *os.File, group ...*os.File) error {
	return s.ask(ctx, step.ID, func(known bool, _ *proto.Record) bool { return known }, func(version int) (*proto.Message, []*os.File) {
		if version < proto.GroupVersion {
			plain := *step
			plain.Group = nil
			return &proto.Message{Type: proto.TypeStart, Start: &plain}, []*os.File{output, record}
		}
		return &proto.Message{Type: proto.TypeStart, Start: step}, append([]*os.File{output, record}, group...)
	})
}

// Groups is whether the supervisor that is connected now gives steps control groups of their own.
func (s *Supervisor) Groups() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn != nil && s.version >= proto.GroupVersion
}

// Consoles is whether the supervisor that is connected now can start consoles.
func (s *Supervisor) Consoles() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.conn != nil && s.version >= proto.ConsoleVersion
}

// Known is whether the supervisor has named the step: it runs, or ended while this agent was connected.
func (s *Supervisor) Known(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.steps[id]
	return ok
}

// Stop asks to end a step and returns once it has ended.
func (s *Supervisor) Stop(ctx context.Context, id string, grace time.Duration) error {
	m := &proto.Message{Type: proto.TypeStop, Stop: &proto.Stop{ID: id, Grace: grace}}
	return s.ask(ctx, id, func(_ bool, r *proto.Record) bool { return r != nil },
		func(int) (*proto.Message, []*os.File) { return m, nil })
}

// ask sends what message gives for a protocol version, on every connection that comes, until the step's state satisfies done.
func (s *Supervisor) ask(ctx context.Context, id string, done func(known bool, r *proto.Record) bool,
	message func(version int) (*proto.Message, []*os.File),
) error {
	var sentOn *proto.Conn
	return s.wait(ctx, func() (bool, error) {
		r, known := s.steps[id]
		if done(known, r) {
			return true, nil
		}
		if c := s.conn; c != nil && c != sentOn {
			sentOn = c
			// Sending with mu held is safe: it can block only until the supervisor reads, and that never waits for
			// us. An error means that the connection is broken, and release will wake us for the next one.
			m, files := message(s.version)
			err := c.Send(m, files...)
			if errors.Is(err, proto.ErrTooLarge) {
				return false, err
			}
			if err != nil {
				_ = c.Close()
			}
		}
		return false, nil
	})
}
