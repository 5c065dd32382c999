package proto

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func FuzzRecord(f *testing.F) {
	whole, err := EncodeRecord(Record{ID: "a", Code: 137, Signal: 9, TimedOut: true, Message: "x\ny", Duration: time.Second})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add([]byte{})
	f.Add([]byte("{}\n00000000\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := DecodeRecord(data); err != nil && !errors.Is(err, ErrNoRecord) {
			t.Errorf("unclassified error %v", err)
		}
	})
}

func TestRecordIsWholeOrAbsent(t *testing.T) {
	want := Record{ID: "a", Code: 3, Message: "with \n line", Duration: 5}
	data, err := EncodeRecord(want)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := DecodeRecord(data); err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	for cut := range data {
		if _, err := DecodeRecord(data[:cut]); !errors.Is(err, ErrNoRecord) {
			t.Errorf("a record cut at byte %d: %v", cut, err)
		}
	}
}

// pair is a connected pair of stream sockets.
func pair(t *testing.T) (a, b *Conn, raw *net.UnixConn) {
	t.Helper()
	dir, err := os.MkdirTemp("", "proto")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	address := &net.UnixAddr{Name: filepath.Join(dir, "s"), Net: "unix"}
	l, err := net.ListenUnix("unix", address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	raw, err = net.DialUnix("unix", nil, address)
	if err != nil {
		t.Fatal(err)
	}
	peer, err := l.AcceptUnix()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close(); peer.Close() })
	return NewConn(raw), NewConn(peer), raw
}

func TestDescriptorsTravelWithTheirFrame(t *testing.T) {
	a, b, _ := pair(t)
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	// A large frame between two small ones with descriptors: nothing may move to a neighbour.
	big := make([]string, 20000)
	for i := range big {
		big[i] = "KEY=some value that makes the frame larger than a socket's buffer"
	}
	go func() {
		_ = a.Send(&Message{Type: TypeStart, Start: &Step{ID: "1"}}, file, file)
		_ = a.Send(&Message{Type: TypeStart, Start: &Step{ID: "2", Env: big}}, file)
		_ = a.Send(&Message{Type: TypeStop, Stop: &Stop{ID: "3"}})
		_ = a.Close()
	}()
	for i, want := range []int{2, 1, 0} {
		m, files, err := b.Receive()
		if err != nil || len(files) != want {
			t.Fatalf("frame %d: %d descriptors, %v", i, len(files), err)
		}
		if i == 1 && len(m.Start.Env) != len(big) {
			t.Errorf("%d entries", len(m.Start.Env))
		}
		closeAll(files)
	}
	if _, _, err := b.Receive(); !errors.Is(err, io.EOF) {
		t.Errorf("after close: %v", err)
	}
}

func TestBadFrames(t *testing.T) {
	for name, data := range map[string]string{
		"too large": "\xff\xff\xff\xff", "cut": "\x00\x00\x00\x09{}", "not JSON": "\x00\x00\x00\x02]]", "cut length": "\x00\x00",
	} {
		_, b, raw := pair(t)
		if _, err := raw.Write([]byte(data)); err != nil {
			t.Fatal(err)
		}
		_ = raw.CloseWrite()
		if m, _, err := b.Receive(); err == nil {
			t.Errorf("%s: received %+v", name, m)
		}
	}
	a, _, _ := pair(t)
	if err := a.Send(&Message{Type: TypeStart, Start: &Step{ID: string(make([]byte, MaxFrame))}}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("sending too much: %v", err)
	}
}
