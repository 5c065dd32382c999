package crash

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// system is the directory and the address that the coordinator keeps from life to life.
type system struct {
	t       *testing.T
	dir     string
	address string
	log     *os.File
}

func newSystem(t *testing.T) *system {
	t.Helper()
	// Short: the embedded etcd has a socket in it.
	dir, err := os.MkdirTemp("", "slw")
	if err != nil {
		t.Fatal(err)
	}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &system{t: t, dir: dir, address: l.Addr().String()}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if s.log, err = os.Create(filepath.Join(dir, "log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = s.log.Close()
		if t.Failed() {
			t.Logf("what the processes said last:\n%s", s.complaints())
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return s
}

// complaints are the last lines of the log that are no information.
func (s *system) complaints() string {
	f, err := os.Open(s.log.Name())
	if err != nil {
		return err.Error()
	}
	defer func() { _ = f.Close() }()
	var last []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if !strings.Contains(lines.Text(), "level=INFO") {
			last = append(last, lines.Text())
		}
	}
	return strings.Join(last[max(0, len(last)-60):], "\n")
}

// process is a role of this program.
type process struct {
	cmd   *exec.Cmd
	ready chan struct{}
	ended chan error
}

func (s *system) start(role string, env ...string) *process {
	s.t.Helper()
	self, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	p := &process{cmd: exec.CommandContext(context.WithoutCancel(s.t.Context()), self), ready: make(chan struct{}), ended: make(chan error, 1)}
	p.cmd.Env = append(append(os.Environ(), roleEnv+"="+role, dirEnv+"="+s.dir, addressEnv+"="+s.address), env...)
	p.cmd.Stderr = s.log
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	go func() {
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if lines.Text() == readyLine {
				close(p.ready)
			}
		}
		_, _ = io.Copy(io.Discard, out)
		p.ended <- p.cmd.Wait()
	}()
	return p
}

// kill ends the process with KILL, or with another signal, and waits for it.
func (p *process) kill(sig os.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("it had ended by itself: %w, %w", err, <-p.ended)
	}
	<-p.ended
	return nil
}
