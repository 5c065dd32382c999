package etcdstore_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/slipway-ci/slipway/coordinator/store"
	"github.com/slipway-ci/slipway/coordinator/store/etcdstore"
	"github.com/slipway-ci/slipway/coordinator/store/storetest"
)

func start(t *testing.T, dir string) *etcdstore.Embedded {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	e, err := etcdstore.Start(ctx, etcdstore.EmbedConfig{Dir: dir, Socket: socket(t), Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// socket is short, whatever the test's name.
func socket(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "etcd")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "s")
}

func wipe(t *testing.T, c *clientv3.Client) {
	t.Helper()
	if _, err := c.Delete(t.Context(), "/t/", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
}

func TestContractInProcessAndOverSocket(t *testing.T) {
	e := start(t, t.TempDir())
	t.Cleanup(func() { _ = e.Close() })
	t.Run("in process", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) store.Store { wipe(t, e.Client()); return e.Store() })
	})
	t.Run("over a socket", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) store.Store { wipe(t, e.Client()); return etcdstore.New(e.Client()) })
	})
}

// What etcd itself refuses is sorted by its kind, whichever way it was asked.
func TestTooManyOperationsAreInvalid(t *testing.T) {
	e := start(t, t.TempDir())
	defer func() { _ = e.Close() }()
	txn := store.Txn{Branches: make([]store.Branch, 1025)}
	for i := range txn.Branches {
		txn.Branches[i].Ops = []store.Op{{Key: fmt.Sprintf("/t/%d", i)}}
	}
	for name, s := range map[string]store.Store{"in process": e.Store(), "over a socket": etcdstore.New(e.Client())} {
		if _, err := s.Commit(t.Context(), txn); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestDataSurvivesRestart(t *testing.T) {
	dir := t.TempDir()
	e := start(t, dir)
	res, err := e.Store().Commit(t.Context(), store.Txn{Branches: []store.Branch{{Ops: []store.Op{{Key: "/t/a", Value: []byte("kept")}}}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	e = start(t, dir)
	defer func() { _ = e.Close() }()
	kv, ok, err := e.Store().Get(t.Context(), "/t/a")
	if err != nil || !ok || string(kv.Value) != "kept" || kv.ModRevision != res.Revision {
		t.Fatalf("%+v %v %v", kv, ok, err)
	}
}

func TestAStoppedServerIsUnavailableOrUnknown(t *testing.T) {
	e := start(t, t.TempDir())
	s := e.Store()
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, _, err := s.Get(ctx, "/t/a"); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("Get: %v", err)
	}
	_, err := s.Commit(ctx, store.Txn{Branches: []store.Branch{{Ops: []store.Op{{Key: "/t/a"}}}}})
	if !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, store.ErrUnknown) {
		t.Fatalf("Commit: %v", err)
	}
}

func TestTooLongSocketPathIsExplained(t *testing.T) {
	long := filepath.Join(t.TempDir(), strings.Repeat("x", 120))
	_, err := etcdstore.Start(t.Context(), etcdstore.EmbedConfig{Dir: t.TempDir(), Socket: long, Log: slog.Default()})
	if err == nil || !strings.Contains(err.Error(), "choose a shorter one") {
		t.Fatalf("%v", err)
	}
}

func TestNothingListensOnTCP(t *testing.T) {
	before := listening(t)
	e := start(t, t.TempDir())
	defer func() { _ = e.Close() }()
	for inode := range listening(t) {
		if before[inode] {
			continue
		}
		for _, fd := range ownSockets(t) {
			if fd == inode {
				t.Fatal("the embedded etcd opened a TCP port")
			}
		}
	}
}

// listening is the inodes of all TCP sockets that listen.
func listening(t *testing.T) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	for _, file := range []string{"/proc/self/net/tcp", "/proc/self/net/tcp6"} {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Skip("no", file)
		}
		for _, line := range strings.Split(string(data), "\n") {
			if f := strings.Fields(line); len(f) > 9 && f[3] == "0A" {
				out["socket:["+f[9]+"]"] = true
			}
		}
	}
	return out
}

func ownSockets(t *testing.T) []string {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, fd := range fds {
		if target, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil {
			out = append(out, target)
		}
	}
	return out
}
