// Package remote is the agent's end of the connection with one pod's supervisor.
//
// The agent listens in a directory that is mounted into the container; only the container's init is let in, told by the
// kernel's peer credentials and its start time. Everything else that connects, a step say, is refused. The supervisor
// comes back by itself after the agent was away, so whatever was asked and not answered is asked again.
package remote

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-ci/slipway/agent/sandbox/procid"
	"github.com/slipway-ci/slipway/agent/supervisor/proto"
)

const (
	helloPatience = 10 * time.Second
	// refusalPause slows down a step that connects in a loop.
	refusalPause = 5 * time.Millisecond
)

// ErrClosed: Close was called.
var ErrClosed = errors.New("remote: closed")

// Supervisor is one pod's supervisor as the agent sees it. Methods are safe for concurrent use.
type Supervisor struct {
	log    *slog.Logger
	dir    *os.File
	listen *net.UnixListener
	closed chan struct{}
	done   sync.WaitGroup
	// knocked is closed once somebody has connected.
	knocked chan struct{}

	mu      sync.Mutex
	init    procid.ID
	trusted chan struct{} // closed once init is known
	base    *proto.Base
	conn    *proto.Conn
	version int  // spoken on conn
	ready   bool // the pod's base has reached the supervisor
	steps   map[string]*proto.Record
	changed chan struct{} // closed and replaced whenever something below mu changes
	refused int
	lease   *lease
}

// Listen opens the socket in dir, in place of one that an earlier agent left.
func Listen(dir string, log *slog.Logger) (*Supervisor, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the supervisor's socket directory: %w", err)
	}
	if err := os.Remove(filepath.Join(dir, proto.SocketName)); err != nil && !errors.Is(err, os.ErrNotExist) {
		_ = d.Close()
		return nil, fmt.Errorf("removing an old supervisor socket: %w", err)
	}
	// A socket's name has at most 107 bytes (unix(7)); this one is short however deep dir lies.
	name := fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), proto.SocketName)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: name, Net: "unix"})
	if err != nil {
		_ = d.Close()
		return nil, fmt.Errorf("listening for the supervisor: %w", err)
	}
	err = os.Chmod(filepath.Join(dir, proto.SocketName), 0o600)
	if err != nil {
		_, _ = l.Close(), d.Close()
		return nil, fmt.Errorf("restricting the supervisor's socket: %w", err)
	}
	s := &Supervisor{
		log: log, dir: d, listen: l, closed: make(chan struct{}), trusted: make(chan struct{}), knocked: make(chan struct{}),
		steps: map[string]*proto.Record{}, changed: make(chan struct{}),
	}
	s.done.Add(1)
	go s.accept()
	return s, nil
}

// Trust says which process may connect; until then every connection waits. base, if not nil, is handed to a supervisor
// that has none yet. Call it once.
func (s *Supervisor) Trust(init procid.ID, base *proto.Base) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.init, s.base = init, base
	close(s.trusted)
}

// Close stops listening and hangs up; the supervisor and its steps live on.
func (s *Supervisor) Close() error {
	s.mu.Lock()
	select {
	case <-s.closed:
		s.mu.Unlock()
		return nil
	default:
	}
	close(s.closed)
	c := s.conn
	s.mu.Unlock()
	err := s.listen.Close()
	if c != nil {
		_ = c.Close()
	}
	s.done.Wait()
	return errors.Join(err, s.dir.Close())
}

func (s *Supervisor) accept() {
	defer s.done.Done()
	first := sync.OnceFunc(func() { close(s.knocked) })
	for {
		c, err := s.listen.AcceptUnix()
		if err != nil {
			return
		}
		first()
		select {
		case <-s.trusted:
		case <-s.closed:
			_ = c.Close()
			return
		}
		if err := s.check(c); err != nil {
			s.refuse(c, err)
			continue
		}
		s.done.Add(1)
		go func() {
			defer s.done.Done()
			if err := s.serve(c); err != nil {
				s.log.Debug("supervisor connection ended", "err", err)
			}
		}()
	}
}

// check lets in only the container's init.
func (s *Supervisor) check(c *net.UnixConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var cred *unix.Ucred
	if ctl := raw.Control(func(fd uintptr) {
		cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); ctl != nil || err != nil {
		return errors.Join(err, ctl)
	}
	if int(cred.Pid) != s.init.PID || !s.init.Alive() {
		return fmt.Errorf("process %d is not the container's init %d", cred.Pid, s.init.PID)
	}
	return nil
}

// refuse turns a stranger away and notes it, seldom: a step could connect in a loop to fill the agent's log.
func (s *Supervisor) refuse(c *net.UnixConn, err error) {
	s.mu.Lock()
	s.refused++
	n := s.refused
	s.mu.Unlock()
	_ = c.Close()
	if n == 1 || n%1000 == 0 {
		s.log.Warn("refused a connection to the supervisor's socket", "err", err, "refused", n)
	}
	select {
	case <-time.After(refusalPause):
	case <-s.closed:
	}
}

// Refused counts the connections that were turned away.
func (s *Supervisor) Refused() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused
}

func (s *Supervisor) serve(c *net.UnixConn) error {
	conn := proto.NewConn(c)
	defer conn.Close()
	_ = c.SetReadDeadline(time.Now().Add(helloPatience))
	m, err := receive(conn)
	if err != nil {
		return err
	}
	if m.Type != proto.TypeHello || m.Hello == nil {
		return fmt.Errorf("expected hello, got %q", m.Type)
	}
	version := min(proto.MaxVersion, m.Hello.MaxVersion)
	if version < max(proto.MinVersion, m.Hello.MinVersion) {
		return fmt.Errorf("the supervisor speaks protocol %d to %d, this agent %d to %d", m.Hello.MinVersion,
			m.Hello.MaxVersion, proto.MinVersion, proto.MaxVersion)
	}
	if s.base != nil && len(s.base.Filter) > 0 && version < proto.FilterVersion {
		return fmt.Errorf("the supervisor speaks protocol %d and can't install the pod's seccomp filter", version)
	}
	_ = c.SetReadDeadline(time.Time{})
	welcome := &proto.Welcome{Version: version, Base: s.base}
	if err := conn.Send(&proto.Message{Type: proto.TypeWelcome, Welcome: welcome}); err != nil {
		return err
	}
	if !s.adopt(conn, m.Hello, version) {
		return ErrClosed
	}
	defer s.release(conn)
	for {
		m, err := receive(conn)
		if err != nil {
			return err
		}
		if err := s.note(m); err != nil {
			return err
		}
	}
}

// receive reads a message of a peer that has no business sending descriptors.
func receive(c *proto.Conn) (*proto.Message, error) {
	m, files, err := c.Receive()
	for _, f := range files {
		_ = f.Close()
	}
	if err == nil && len(files) > 0 {
		err = errors.New("the supervisor sent descriptors")
	}
	return m, err
}

// adopt makes conn the current one.
func (s *Supervisor) adopt(conn *proto.Conn, h *proto.Hello, version int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.closed:
		return false
	default:
	}
	if s.conn != nil {
		_ = s.conn.Close()
	}
	s.conn, s.version, s.ready = conn, version, h.Configured || s.base != nil
	s.sendLease()
	if h.Running != "" {
		if _, ok := s.steps[h.Running]; !ok {
			s.steps[h.Running] = nil
		}
	}
	s.wake()
	return true
}

func (s *Supervisor) release(conn *proto.Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn == conn {
		s.conn = nil
		s.wake()
	}
}

func (s *Supervisor) note(m *proto.Message) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case m.Type == proto.TypeStarted && m.Started != nil:
		if _, ok := s.steps[m.Started.ID]; !ok {
			s.steps[m.Started.ID] = nil
		}
	case m.Type == proto.TypeEnded && m.Ended != nil:
		s.steps[m.Ended.ID] = m.Ended
	default:
		return fmt.Errorf("unexpected message %q from the supervisor", m.Type)
	}
	s.wake()
	return nil
}

func (s *Supervisor) wake() {
	close(s.changed)
	s.changed = make(chan struct{})
}

// Changed returns a channel that is closed at the next change of any step or of the connection.
func (s *Supervisor) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// wait calls cond, with mu held, until it says true, after every change.
func (s *Supervisor) wait(ctx context.Context, cond func() (bool, error)) error {
	for {
		s.mu.Lock()
		ok, err := cond()
		changed := s.changed
		s.mu.Unlock()
		if ok || err != nil {
			return err
		}
		select {
		case <-changed:
		case <-s.closed:
			return ErrClosed
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
