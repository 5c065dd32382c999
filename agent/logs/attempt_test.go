package logs_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/slipway-ci/slipway/agent/agenttest"
	"github.com/slipway-ci/slipway/agent/logs"
	"github.com/slipway-ci/slipway/agent/session"
	"github.com/slipway-ci/slipway/internal/clock"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type accept struct{}

func (accept) Held() []string                           { return nil }
func (accept) Welcome([]string)                         {}
func (accept) Cancel(string, string)                    {}
func (accept) Kill(string, string)                      {}
func (accept) Hold(string, time.Duration, string)       {}
func (accept) Attach(*fleetv1.Attach)                   {}
func (accept) Acked(string, uint64)                     {}
func (accept) Offer(*fleetv1.Assignment) (bool, string) { return true, "" }

// rig is a coordinator, a session to it, and an attempt "a" that may push.
type rig struct {
	t       *testing.T
	c       *agenttest.Coordinator
	client  *session.Client
	watcher *logs.Watcher
	dir     string

	mu    sync.Mutex
	acked map[uint32]int64
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, c: agenttest.Start(t), dir: t.TempDir(), acked: map[uint32]int64{}}
	creds, err := session.LoadOrJoin(t.Context(), session.JoinConfig{Address: r.c.Addr(), Dir: t.TempDir(), Token: r.c.JoinToken(), Hostname: "h", Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	r.client = session.New(session.Config{Address: r.c.Addr(), Credentials: creds, DiskFree: func() int64 { return 0 }, Handler: accept{}, Clock: clock.Real{}, Log: slog.New(slog.DiscardHandler)})
	if r.watcher, err = logs.NewWatcher(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = r.client.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		r.watcher.Close()
	})
	r.c.Offer(&fleetv1.Assignment{AttemptId: "a", Job: &planv1.Job{Id: "j"}})
	return r
}

func (r *rig) attempt() *logs.Attempt {
	return logs.New(logs.Config{AttemptID: "a", Token: "token-of-a", Remote: r.client, Watcher: r.watcher, Log: slog.New(slog.DiscardHandler),
		OnAck: func(step uint32, offset int64, _ bool) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.acked[step] = offset
		}})
}

func (r *rig) path(n int) string { return filepath.Join(r.dir, fmt.Sprintf("%d.raw", n)) }

func (r *rig) write(n int, text string) {
	r.t.Helper()
	f, err := os.OpenFile(r.path(n), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		r.t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) stored(step uint32) string {
	if l := r.c.Attempt("a").Logs[step]; l != nil {
		return string(l.Bytes)
	}
	return ""
}

func end(t *testing.T, s *logs.Step) logs.Result {
	t.Helper()
	res, err := s.End()
	if err != nil {
		t.Fatal(err)
	}
	s.Release()
	return res
}

func TestLogsArriveWhileTheyAreWritten(t *testing.T) {
	r := newRig(t)
	a := r.attempt()
	defer a.Close()
	s, err := a.Step(1, r.path(1), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, text := range []string{"one\n", "two ", "three"} {
		r.write(1, text)
		want := []string{"one\n", "one\ntwo ", "one\ntwo three"}[i]
		r.c.Wait("the log is "+want, func() bool { return r.stored(1) == want })
	}
	res := end(t, s)
	sum := sha256.Sum256([]byte("one\ntwo three"))
	if res.Length != 13 || res.SHA256 != hex.EncodeToString(sum[:]) {
		t.Errorf("result %+v", res)
	}
	if err := a.WaitAcked(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(r.path(1)); !os.IsNotExist(err) {
		t.Errorf("the raw output is still there: %v", err)
	}
	r.c.Wait("the log has ended", func() bool { return r.c.Attempt("a").Logs[1].Ended })
}

func TestANewProcessGoesOnWithTheSameBytes(t *testing.T) {
	r := newRig(t)
	big := bytes.Repeat([]byte("a line with hidden in it\n"), 20_000)
	first := r.attempt()
	if _, err := first.Step(1, r.path(1), logs.NewMasks("known"), 0); err != nil {
		t.Fatal(err)
	}
	r.write(1, "known\n"+string(big))
	r.write(1, "::add-mask::hidden\n")
	r.c.Wait("something is stored", func() bool { return len(r.stored(1)) > 100_000 })
	first.Close()
	r.mu.Lock()
	acked := r.acked[1]
	r.mu.Unlock()
	r.write(1, string(big)+"hidden known")
	second := r.attempt()
	defer second.Close()
	s, err := second.Step(1, r.path(1), logs.NewMasks("known"), acked)
	if err != nil {
		t.Fatal(err)
	}
	res := end(t, s)
	if err := second.WaitAcked(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := "***\n" + string(big) + "::add-mask::***\n" + string(bytes.ReplaceAll(big, []byte("hidden"), []byte("***"))) + "*** ***"
	r.c.Wait("it is complete", func() bool { return r.stored(1) == want })
	if sum := sha256.Sum256([]byte(want)); res.SHA256 != hex.EncodeToString(sum[:]) {
		t.Error("the digest is not that of the log")
	}
}

func TestFilteringDoesNotWaitForTheCoordinator(t *testing.T) {
	r := newRig(t)
	r.c.Wait("the offer is taken", func() bool { return r.c.Attempt("a").Accepted })
	r.c.Down()
	a := r.attempt()
	defer a.Close()
	s, err := a.Step(1, r.path(1), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	r.write(1, string(bytes.Repeat([]byte{'x'}, 10<<20)))
	if res := end(t, s); res.Length != 10<<20 {
		t.Errorf("length %d", res.Length)
	}
	r.c.Up()
	if err := a.WaitAcked(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.c.Wait("all is stored", func() bool { return len(r.stored(1)) == 10<<20 })
}

func TestAStoreThatLostBytesGetsThemAgain(t *testing.T) {
	r := newRig(t)
	a := r.attempt()
	defer a.Close()
	s, err := a.Step(1, r.path(1), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	r.write(1, "0123456789")
	r.c.Wait("it is stored", func() bool { return r.stored(1) == "0123456789" })
	r.c.LoseLog("a", 1, 4)
	r.write(1, "abc")
	end(t, s)
	if err := a.WaitAcked(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.c.Wait("it is whole again", func() bool { return r.stored(1) == "0123456789abc" })
}

func TestRefusedLogsEndTheWaiting(t *testing.T) {
	r := newRig(t)
	r.c.Fence("a")
	a := r.attempt()
	defer a.Close()
	s, err := a.Step(1, r.path(1), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	r.write(1, "x")
	end(t, s)
	if err := a.WaitAcked(t.Context()); err == nil {
		t.Error("the refusal is not told")
	}
}

func TestManyStepsShareAStream(t *testing.T) {
	r := newRig(t)
	a := r.attempt()
	defer a.Close()
	for n := range 50 {
		s, err := a.Step(uint32(n), r.path(n), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		r.write(n, fmt.Sprintf("log %d", n))
		end(t, s)
	}
	if err := a.WaitAcked(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.c.Wait("all logs are there", func() bool {
		for n := range 50 {
			if r.stored(uint32(n)) != fmt.Sprintf("log %d", n) {
				return false
			}
		}
		return true
	})
}

func TestALogWithoutAByteIsNotSent(t *testing.T) {
	r := newRig(t)
	a := r.attempt()
	defer a.Close()
	for n := range 2 {
		s, err := a.Step(uint32(n+1), r.path(n+1), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		if n == 1 { // while a stream is open, too
			r.write(2, "something\n")
		}
		end(t, s)
	}
	s, err := a.Step(3, r.path(3), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	if res := end(t, s); res.Length != 0 || res.SHA256 != hex.EncodeToString(sha256.New().Sum(nil)) {
		t.Errorf("result %+v", res)
	}
	if err := a.WaitAcked(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := r.stored(2); got != "something\n" {
		t.Errorf("stored %q", got)
	}
	for _, n := range []uint32{1, 3} {
		if r.c.Attempt("a").Logs[n] != nil {
			t.Errorf("log %d, which is empty, was sent", n)
		}
		if _, err := os.Stat(r.path(int(n))); !os.IsNotExist(err) {
			t.Errorf("the file of log %d is still there: %v", n, err)
		}
	}
}
