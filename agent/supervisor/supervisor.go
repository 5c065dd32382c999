package supervisor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-ci/slipway/agent/supervisor/proto"
)

// Redial bounds the pause between two attempts to reach the agent.
const (
	redialFirst = 2 * time.Millisecond
	redialMost  = 250 * time.Millisecond
)

// Config says where the agent is.
type Config struct {
	// Socket is the agent's unix socket; it may appear late, vanish and come back. Its directory is there from the start.
	Socket string
	Log    *slog.Logger
}

// Supervisor is the state of one PID 1.
type Supervisor struct {
	cfg  Config
	null *os.File
	// home is the socket's directory, held open: a step can move what leads to it, and put a socket of its own there.
	home *os.File
	oom  *os.File // this process's oom_score_adj, opened while that is permitted; nil if it never was

	mu    sync.Mutex
	base  *proto.Base
	steps map[string]*step
	byPID map[int]*step
	conn  *proto.Conn
	lease lease
}

// Run supervises until ctx ends. It changes the calling process: no core dumps, no ptrace, adopts orphans.
func Run(ctx context.Context, cfg Config) error {
	s := &Supervisor{cfg: cfg, steps: map[string]*step{}, byPID: map[int]*step{}}
	if err := s.prepare(); err != nil {
		return err
	}
	defer closeFiles([]*os.File{s.null, s.home})
	// A channel of its own: a flood of other signals, which a step can send, must not push one of these out.
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	defer signal.Stop(children)
	signals := make(chan os.Signal, 64)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2)
	defer signal.Stop(signals)
	// Sent by a step, these would end a Go program that does not ask for them; its own faults still do.
	deaf := make(chan os.Signal, 1)
	signal.Notify(deaf, syscall.SIGSEGV, syscall.SIGBUS, syscall.SIGFPE, syscall.SIGILL, syscall.SIGABRT, syscall.SIGTRAP,
		syscall.SIGSYS, syscall.SIGSTKFLT)
	defer signal.Stop(deaf)
	go s.dialForever(ctx)
	for {
		select {
		case <-ctx.Done():
			s.drop(nil)
			return nil
		case <-children:
			s.reap()
		case sig := <-signals:
			if number, ok := sig.(syscall.Signal); ok {
				s.forward(number)
			}
		}
	}
}

func (s *Supervisor) prepare() error {
	// Opened before the process becomes non-dumpable, which can change who owns its /proc files.
	s.oom, _ = os.OpenFile("/proc/self/oom_score_adj", os.O_RDWR, 0)
	fd, err := unix.Open(filepath.Dir(s.cfg.Socket), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("opening the directory of the agent's socket: %w", err)
	}
	s.home = os.NewFile(uintptr(fd), "home")
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		return fmt.Errorf("making the supervisor non-dumpable: %w", err)
	}
	if os.Getpid() != 1 {
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("adopting orphans: %w", err)
		}
	}
	if s.null, err = os.OpenFile(os.DevNull, os.O_RDONLY, 0); err != nil {
		return fmt.Errorf("opening the steps' standard input: %w", err)
	}
	return nil
}

// dialForever keeps one connection to the agent, whenever there is an agent.
func (s *Supervisor) dialForever(ctx context.Context) {
	pause := redialFirst
	socket := fmt.Sprintf("/proc/self/fd/%d/%s", s.home.Fd(), filepath.Base(s.cfg.Socket))
	for ctx.Err() == nil {
		c, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: socket, Net: "unix"})
		if err == nil {
			began := time.Now()
			err = s.serve(proto.NewConn(c))
			if time.Since(began) > time.Second {
				pause = redialFirst
			}
			s.cfg.Log.Info("connection to the agent ended", "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, redialMost)
	}
}

// serve speaks on one connection until it breaks.
func (s *Supervisor) serve(c *proto.Conn) error {
	defer s.drop(c)
	if err := c.Send(&proto.Message{Type: proto.TypeHello, Hello: s.hello()}); err != nil {
		return err
	}
	m, files, err := c.Receive()
	closeFiles(files)
	if err != nil {
		return fmt.Errorf("waiting for welcome: %w", err)
	}
	if m.Type != proto.TypeWelcome || m.Welcome == nil {
		return fmt.Errorf("expected welcome, got %q", m.Type)
	}
	if v := m.Welcome.Version; v < proto.MinVersion || v > proto.MaxVersion {
		return fmt.Errorf("the agent chose protocol version %d, this supervisor speaks %d to %d", v, proto.MinVersion,
			proto.MaxVersion)
	}
	if err := s.take(c, m.Welcome.Base); err != nil {
		return err
	}
	for {
		m, files, err := c.Receive()
		if err != nil {
			return err
		}
		if err := s.handle(c, m, files); err != nil {
			return err
		}
	}
}

// take makes c the connection to the agent, and the first base that comes the pod's. Nothing runs before its filter is in force.
func (s *Supervisor) take(c *proto.Conn, base *proto.Base) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.base == nil && base != nil {
		if err := confine(base.Filter); err != nil {
			s.cfg.Log.Error("no step can run", "err", err)
			return err
		}
		s.base = base
	}
	s.conn = c
	return nil
}

func (s *Supervisor) hello() *proto.Hello {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := &proto.Hello{MinVersion: proto.MinVersion, MaxVersion: proto.MaxVersion, Configured: s.base != nil}
	for id, st := range s.steps {
		if st.record == nil {
			h.Running = id
		}
	}
	return h
}

func (s *Supervisor) handle(c *proto.Conn, m *proto.Message, files []*os.File) error {
	switch {
	case m.Type == proto.TypeStart && m.Start != nil && len(files) == 2+len(m.Start.Group)+m.Start.Console.Files():
		return s.start(c, m.Start, files)
	case m.Type == proto.TypeStop && m.Stop != nil:
		closeFiles(files)
		return s.stop(c, m.Stop)
	case m.Type == proto.TypeLease && m.Lease != nil:
		closeFiles(files)
		s.renew(*m.Lease)
		return nil
	default:
		closeFiles(files)
		return fmt.Errorf("unexpected message %q with %d descriptors", m.Type, len(files))
	}
}

// start answers started or ended; it runs the step unless its id was seen before.
func (s *Supervisor) start(c *proto.Conn, spec *proto.Step, files []*os.File) error {
	output, record := files[0], files[1]
	rest := 2 + len(spec.Group)
	stdio := files[rest:]
	files = files[:rest]
	defer closeFiles(stdio)
	s.mu.Lock()
	st, known := s.steps[spec.ID]
	if !known {
		st = s.launch(spec, output, record, stdio, newGroup(spec.Group, files[2:]))
	}
	ended := st.record
	s.mu.Unlock()
	// A started process has its own descriptor of the output; a repeated request brings a second set.
	_ = output.Close()
	if known || ended != nil {
		_ = record.Close()
	}
	if known {
		closeFiles(files[2:])
	}
	if ended != nil {
		return c.Send(&proto.Message{Type: proto.TypeEnded, Ended: ended})
	}
	return c.Send(&proto.Message{Type: proto.TypeStarted, Started: &proto.Started{ID: spec.ID}})
}

// stop begins to end a step; of one that has ended it repeats how.
func (s *Supervisor) stop(c *proto.Conn, m *proto.Stop) error {
	s.mu.Lock()
	st := s.steps[m.ID]
	if st != nil && st.record == nil {
		s.terminate(st, m.Grace)
	}
	var ended *proto.Record
	if st != nil {
		ended = st.record
	}
	s.mu.Unlock()
	if ended == nil {
		return nil
	}
	return c.Send(&proto.Message{Type: proto.TypeEnded, Ended: ended})
}

// drop forgets c, or whatever connection there is, and closes it.
func (s *Supervisor) drop(c *proto.Conn) {
	s.mu.Lock()
	if c == nil {
		c = s.conn
	}
	if s.conn == c {
		s.conn = nil
		s.endConsoles()
	}
	s.mu.Unlock()
	if c != nil {
		_ = c.Close()
	}
}

// forward passes a signal that the container got to every running step's process group.
func (s *Supervisor) forward(sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for pid := range s.byPID {
		if err := syscall.Kill(-pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			s.cfg.Log.Warn("forwarding a signal", "signal", sig.String(), "err", err)
		}
	}
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}
