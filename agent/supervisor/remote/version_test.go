package remote_test

import (
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/slipway-ci/slipway/agent/sandbox/procid"
	"github.com/slipway-ci/slipway/agent/supervisor/proto"
	"github.com/slipway-ci/slipway/agent/supervisor/remote"
)

// TestOlderSupervisor: a job that an older agent began has a supervisor of protocol 1, which knows no control groups.
func TestOlderSupervisor(t *testing.T) {
	dir, err := os.MkdirTemp("", "sup")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	s, err := remote.Listen(dir, quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	self, err := procid.Of(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	s.Trust(self, nil)
	socket, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: filepath.Join(dir, proto.SocketName), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	old := proto.NewConn(socket)
	defer old.Close()
	if err := old.Send(&proto.Message{Type: proto.TypeHello, Hello: &proto.Hello{MinVersion: 1, MaxVersion: 1, Configured: true}}); err != nil {
		t.Fatal(err)
	}
	if m, _, err := old.Receive(); err != nil || m.Welcome == nil || m.Welcome.Version != 1 {
		t.Fatalf("welcome %+v, %v", m, err)
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	started := make(chan error, 1)
	go func() {
		started <- s.Start(t.Context(), &proto.Step{ID: "a", Argv: []string{"true"}, Group: []string{"procs"}}, null, null, null)
	}()
	m, files, err := old.Receive()
	if err != nil || m.Start == nil || len(m.Start.Group) != 0 || len(files) != 2 {
		t.Errorf("an older supervisor is sent %+v with %d descriptors, %v", m, len(files), err)
	}
	for _, f := range files {
		f.Close()
	}
	if err := old.Send(&proto.Message{Type: proto.TypeStarted, Started: &proto.Started{ID: "a"}}); err != nil {
		t.Fatal(err)
	}
	if err := <-started; err != nil {
		t.Error(err)
	}
}

// TestFilterNeedsASupervisorThatKnowsIt: it would start steps without one.
func TestFilterNeedsASupervisorThatKnowsIt(t *testing.T) {
	dir, err := os.MkdirTemp("", "sup")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	s, err := remote.Listen(dir, quiet())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	self, err := procid.Of(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	s.Trust(self, &proto.Base{Filter: make([]byte, 8)})
	for _, tt := range []struct {
		version int
		welcome bool
	}{{proto.FilterVersion - 1, false}, {proto.FilterVersion, true}} {
		socket, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: filepath.Join(dir, proto.SocketName), Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		conn := proto.NewConn(socket)
		defer conn.Close()
		if err := conn.Send(&proto.Message{Type: proto.TypeHello, Hello: &proto.Hello{MinVersion: 1, MaxVersion: tt.version}}); err != nil {
			t.Fatal(err)
		}
		if m, _, err := conn.Receive(); (err == nil && len(m.Welcome.Base.Filter) > 0) != tt.welcome {
			t.Errorf("version %d: %+v, %v", tt.version, m, err)
		}
	}
}
