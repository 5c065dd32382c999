package session_test

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/slipway-ci/slipway/agent/agenttest"
	"github.com/slipway-ci/slipway/agent/session"
	"github.com/slipway-ci/slipway/internal/clock"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder is a Handler that takes every offer.
type recorder struct {
	mu     sync.Mutex
	held   []string
	acks   map[string]uint64
	events []string
}

func (r *recorder) note(s string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events = append(r.events, s)
}

func (r *recorder) Held() []string           { r.mu.Lock(); defer r.mu.Unlock(); return r.held }
func (r *recorder) Welcome(live []string)    { r.note("welcome " + strings.Join(live, ",")) }
func (r *recorder) Cancel(id, reason string) { r.note("cancel " + id + " " + reason) }
func (r *recorder) Kill(id, _ string)        { r.note("kill " + id) }
func (r *recorder) Hold(id string, left time.Duration, reason string) {
	r.note("hold " + id + " " + left.String() + " " + reason)
}

func (r *recorder) Attach(a *fleetv1.Attach) {
	r.note("attach " + a.GetSessionId() + " to " + a.GetAttemptId())
}

func (r *recorder) Acked(id string, n uint64) { r.mu.Lock(); defer r.mu.Unlock(); r.acks[id] = n }
func (r *recorder) Offer(a *fleetv1.Assignment) (bool, string) {
	r.note("offer " + a.GetAttemptId())
	return a.GetAttemptId() != "unwanted", "no room"
}

func (r *recorder) has(event string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if e == event {
			return true
		}
	}
	return false
}

func join(t *testing.T, c *agenttest.Coordinator, dir string) *session.Credentials {
	t.Helper()
	creds, err := session.LoadOrJoin(t.Context(), session.JoinConfig{Address: c.Addr(), Dir: dir, Token: c.JoinToken(), Hostname: "h", Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	return creds
}

// connect runs a client until the test ends.
func connect(t *testing.T, c *agenttest.Coordinator, creds *session.Credentials) (*session.Client, *recorder) {
	t.Helper()
	r := &recorder{acks: map[string]uint64{}}
	client := session.New(session.Config{
		Address: c.Addr(), Credentials: creds, Hostname: "h", Version: "v", Capacity: &fleetv1.Capacity{Slots: 2}, DiskFree: func() int64 { return 1 },
		Handler: r, Clock: clock.Real{}, Log: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = client.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return client, r
}

func assignment(id string) *fleetv1.Assignment {
	return &fleetv1.Assignment{AttemptId: id, Job: &planv1.Job{Id: "j"}}
}

func TestJoinKeepsTheIdentity(t *testing.T) {
	c := agenttest.Start(t)
	dir := filepath.Join(t.TempDir(), "identity")
	creds := join(t, c, dir)
	if id := creds.Identity(); id.ID != "agent-1" || id.Pool != "default" || len(id.Labels) != 1 {
		t.Errorf("identity %v", id)
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		info, ierr := d.Info()
		if err = errors.Join(err, ierr); err == nil && !d.IsDir() && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	// Without a token, from what is kept.
	if _, err := session.LoadOrJoin(t.Context(), session.JoinConfig{Address: c.Addr(), Dir: dir, Now: time.Now}); err != nil {
		t.Errorf("kept identity: %v", err)
	}
	later := func() time.Time { return time.Now().Add(2 * time.Hour) }
	if _, err := session.LoadOrJoin(t.Context(), session.JoinConfig{Address: c.Addr(), Dir: dir, Now: later}); !errors.Is(err, session.ErrNotJoined) || !strings.Contains(err.Error(), "expired") {
		t.Errorf("expired identity: %v", err)
	}
}

func TestJoinIsRefused(t *testing.T) {
	c, other := agenttest.Start(t), agenttest.Start(t)
	for name, token := range map[string]string{"none": "", "nonsense": "hello", "of another coordinator": other.JoinToken(), "wrong secret": strings.Replace(c.JoinToken(), "Bw", "Cw", 1)} {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		_, err := session.LoadOrJoin(ctx, session.JoinConfig{Address: c.Addr(), Dir: t.TempDir(), Token: token, Hostname: "h", Now: time.Now})
		cancel()
		if err == nil {
			t.Errorf("%s: joined", name)
		}
	}
}

func TestSessionCarriesBothWays(t *testing.T) {
	c := agenttest.Start(t)
	client, r := connect(t, c, join(t, c, t.TempDir()))
	c.Offer(assignment("a"))
	c.Offer(assignment("unwanted"))
	c.Wait("both offers are answered", func() bool { return c.Attempt("a").Accepted && c.Attempt("unwanted").Rejected == "no room" })
	client.Report(&corev1.Report{AttemptId: "a", Seq: 1, State: corev1.AttemptState_ATTEMPT_STATE_RUNNING})
	c.Wait("the report is there", func() bool { return len(c.Attempt("a").Reports) == 1 })
	c.Cancel("a", "why")
	c.Kill("a")
	beats := 0
	c.Wait("heartbeats go on", func() bool {
		if beats == 0 {
			beats = c.Beats()
		}
		return c.Beats() >= beats+3 && r.has("cancel a why") && r.has("kill a")
	})
}

func TestReportsAreKeptUntilAcknowledged(t *testing.T) {
	c := agenttest.Start(t)
	c.HoldAcks(true)
	client, _ := connect(t, c, join(t, c, t.TempDir()))
	c.Offer(assignment("a"))
	c.Wait("the offer is taken", func() bool { return c.Attempt("a").Accepted })
	client.Report(&corev1.Report{AttemptId: "a", Seq: 1})
	c.Wait("the report is there", func() bool { return len(c.Attempt("a").Reports) == 1 })
	c.Down()
	// Newer ones replace older ones while nobody listens; an older one never comes back.
	client.Report(&corev1.Report{AttemptId: "a", Seq: 5})
	client.Report(&corev1.Report{AttemptId: "a", Seq: 4})
	c.HoldAcks(false)
	c.Up()
	c.Wait("the newest arrives in the next session", func() bool { return c.Attempt("a").Last().GetSeq() == 5 })
	if n := len(c.WaitReports("a")); n != 2 {
		t.Errorf("%d reports", n)
	}
}

func TestCertificateIsRenewedInTime(t *testing.T) {
	c := agenttest.Start(t)
	c.CertLife = 2 * time.Second
	dir := t.TempDir()
	creds := join(t, c, dir)
	before, err := os.ReadFile(filepath.Join(dir, "agent.pem"))
	if err != nil {
		t.Fatal(err)
	}
	c.CertLife = time.Hour
	connect(t, c, creds)
	c.Wait("a session with the renewed certificate", func() bool { return c.Renewed() == 1 && c.Sessions() >= 2 })
	after, err := os.ReadFile(filepath.Join(dir, "agent.pem"))
	if err != nil || string(before) == string(after) {
		t.Errorf("the certificate on disk is still the old one (%v)", err)
	}
}

func TestClientWaitsForASession(t *testing.T) {
	c := agenttest.Start(t)
	creds := join(t, c, t.TempDir())
	c.Down()
	client, _ := connect(t, c, creds)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	if _, err := client.Client(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("without a session: %v", err)
	}
	cancel()
	c.Up()
	if _, err := client.Client(t.Context()); err != nil {
		t.Errorf("with a session: %v", err)
	}
}
