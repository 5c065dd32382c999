// Package agenttest is a coordinator for tests of the agent: a real gRPC server over real mutual TLS that behaves, keeps
// everything in memory, and can be stopped and started again on its port.
package agenttest

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/slipway-ci/slipway/internal/tlsutil"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

// Coordinator is the fake. Its methods are safe for concurrent use.
type Coordinator struct {
	fleetv1.UnimplementedFleetServiceServer
	fleetv1.UnimplementedJoinServiceServer

	t      testing.TB
	caKey  *ecdsa.PrivateKey
	ca     *x509.Certificate
	caPEM  []byte
	server *tls.Certificate
	pool   *x509.CertPool

	// CertLife of agents' certificates; an hour if zero. Set before Start.
	CertLife time.Duration

	mu       sync.Mutex
	changed  chan struct{}
	addr     string
	grpc     *grpc.Server
	sessions int
	current  *serverSession
	hellos   []*fleetv1.Hello
	beats    int
	beat     *fleetv1.Heartbeat
	drain    *fleetv1.Drain
	renewed  int
	attempts map[string]*Attempt
	// order of attempts as offered.
	order     []string
	blobs     map[string][]byte
	artifacts []*corev1.Artifact
	secrets   map[uint64]*fleetv1.GetSecretsResponse
	asked     []uint64
	holdAcks  bool
	removed   bool
	problems  []string
}

// Attempt is what the coordinator knows of one.
type Attempt struct {
	Assignment *fleetv1.Assignment
	Accepted   bool
	Rejected   string
	Dead       bool
	Reports    []*corev1.Report
	Logs       map[uint32]*Log
}

// Log is one step's log.
type Log struct {
	Bytes []byte
	Ended bool
}

// Done says whether the final report arrived.
func (a *Attempt) Done() bool {
	return len(a.Reports) > 0 && a.Last().GetState() == corev1.AttemptState_ATTEMPT_STATE_DONE
}

// Last is the newest report, nil if there is none.
func (a *Attempt) Last() *corev1.Report {
	if len(a.Reports) == 0 {
		return nil
	}
	return a.Reports[len(a.Reports)-1]
}

// Start returns a coordinator that serves until the test ends, and then fails it for every problem that it noticed: bytes
// that changed, a state that went back.
func Start(t testing.TB) *Coordinator {
	t.Helper()
	c := &Coordinator{t: t, changed: make(chan struct{}), attempts: map[string]*Attempt{}, blobs: map[string][]byte{}, CertLife: time.Hour}
	if err := c.makeCA(); err != nil {
		t.Fatal(err)
	}
	c.Up()
	t.Cleanup(func() {
		c.Down()
		for _, p := range c.problems {
			t.Errorf("the coordinator noticed: %s", p)
		}
	})
	return c
}

func (c *Coordinator) makeCA() error {
	key, _, err := tlsutil.NewKey()
	if err != nil {
		return err
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		return err
	}
	if c.ca, err = x509.ParseCertificate(der); err != nil {
		return err
	}
	c.caKey, c.caPEM, c.pool = key, tlsutil.EncodeCert(der), x509.NewCertPool()
	c.pool.AddCert(c.ca)
	serverKey, _, err := tlsutil.NewKey()
	if err != nil {
		return err
	}
	leaf, err := c.sign(serverKey.Public().(*ecdsa.PublicKey), &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return err
	}
	c.server = &tls.Certificate{Certificate: [][]byte{leaf, der}, PrivateKey: serverKey}
	return nil
}

func (c *Coordinator) sign(pub *ecdsa.PublicKey, tmpl *x509.Certificate) ([]byte, error) {
	return x509.CreateCertificate(rand.Reader, tmpl, c.ca, pub, c.caKey)
}

// Up serves, on the same port as before.
func (c *Coordinator) Up() {
	c.t.Helper()
	addr := c.addr
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", addr)
	if err != nil {
		c.t.Fatal(err)
	}
	conf := tlsutil.ServerTLS(func() (*tls.Certificate, error) { return c.server, nil }, c.pool)
	s := grpc.NewServer(grpc.Creds(credentials.NewTLS(conf)))
	fleetv1.RegisterFleetServiceServer(s, c)
	fleetv1.RegisterJoinServiceServer(s, c)
	c.mu.Lock()
	c.addr, c.grpc = l.Addr().String(), s
	c.mu.Unlock()
	go func() { _ = s.Serve(l) }()
}

// Down ends every connection at once, as a crash does; what was acknowledged stays.
func (c *Coordinator) Down() {
	c.mu.Lock()
	s := c.grpc
	c.mu.Unlock()
	s.Stop()
}

// Addr is where it serves.
func (c *Coordinator) Addr() string { return c.addr }

// JoinToken is a token that Join accepts.
func (c *Coordinator) JoinToken() string {
	return tlsutil.FormatToken(tlsutil.JoinToken, [32]byte{7}, tlsutil.PinOf(c.ca))
}

// CA is its certificate, PEM.
func (c *Coordinator) CA() []byte { return c.caPEM }

func (c *Coordinator) problem(format string, args ...any) {
	c.problems = append(c.problems, fmt.Sprintf(format, args...))
}

// signalLocked wakes Wait.
func (c *Coordinator) signalLocked() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// waitLimit is how long a test waits for what should happen at once: long, since it only matters to a test that fails.
const waitLimit = 2 * time.Minute

// Wait blocks until cond holds; cond is called with the coordinator locked. The test fails if it never does.
func (c *Coordinator) Wait(what string, cond func() bool) {
	c.t.Helper()
	limit := time.NewTimer(waitLimit)
	defer limit.Stop()
	for {
		c.mu.Lock()
		ok, changed := cond(), c.changed
		c.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-limit.C:
			c.t.Fatalf("waited %v in vain: %s", waitLimit, what)
		}
	}
}

// Offer gives an attempt to the live session, or to the next one. It fills in the token.
func (c *Coordinator) Offer(a *fleetv1.Assignment) {
	c.mu.Lock()
	defer c.mu.Unlock()
	a.Token = "token-of-" + a.GetAttemptId()
	c.attempts[a.GetAttemptId()] = &Attempt{Assignment: a, Logs: map[uint32]*Log{}}
	c.order = append(c.order, a.GetAttemptId())
	c.sendLocked(&fleetv1.SessionResponse{Message: &fleetv1.SessionResponse_Offer{Offer: &fleetv1.Offer{Assignment: a}}})
}

// Cancel asks the agent for an orderly end.
func (c *Coordinator) Cancel(id, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sendLocked(&fleetv1.SessionResponse{Message: &fleetv1.SessionResponse_Cancel{Cancel: &fleetv1.Cancel{AttemptId: id, Reason: reason}}})
}

// Kill fences an attempt.
func (c *Coordinator) Kill(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.attempts[id].Dead = true
	c.sendLocked(&fleetv1.SessionResponse{Message: &fleetv1.SessionResponse_Kill{Kill: &fleetv1.Kill{AttemptId: id, Reason: "fenced by the test"}}})
}

// Fence forgets an attempt without telling the agent: the next Welcome does not name it.
func (c *Coordinator) Fence(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.attempts[id].Dead = true
}

// Remove refuses the agent from now on, as one that an operator removed.
func (c *Coordinator) Remove() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.removed = true
}

// HoldAcks stops acknowledging reports, or begins again.
func (c *Coordinator) HoldAcks(hold bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.holdAcks = hold
}

// Attempt returns an attempt; use it inside Wait, or when nothing changes it any more.
func (c *Coordinator) Attempt(id string) *Attempt { return c.attempts[id] }

// WaitReports returns a copy of the reports of an attempt, once there is one.
func (c *Coordinator) WaitReports(id string) []*corev1.Report {
	c.t.Helper()
	var out []*corev1.Report
	c.Wait("a report of "+id, func() bool {
		out = slices.Clone(c.attempts[id].Reports)
		return len(out) > 0
	})
	return out
}

// WaitDone waits for the final report and for every log that it names, and returns a copy of the attempt.
func (c *Coordinator) WaitDone(id string) *Attempt {
	c.t.Helper()
	var a *Attempt
	c.Wait("attempt "+id+" is done and its logs are complete", func() bool {
		a = c.attempts[id]
		if a == nil || !a.Done() {
			return false
		}
		for _, sum := range a.Last().GetLogs() {
			l := a.Logs[sum.GetStep()]
			// That it has ended the report says, too: a restart may have lost the message that said so.
			if sum.GetLength() > 0 && (l == nil || int64(len(l.Bytes)) < sum.GetLength()) {
				return false
			}
		}
		a = a.clone()
		return true
	})
	return a
}

func (a *Attempt) clone() *Attempt {
	c := *a
	c.Reports = slices.Clone(a.Reports)
	c.Logs = map[uint32]*Log{}
	for n, l := range a.Logs {
		c.Logs[n] = &Log{Bytes: slices.Clone(l.Bytes), Ended: l.Ended}
	}
	return &c
}

// Sessions is how many sessions began. For use inside Wait, like Hellos, Beats and Renewed.
func (c *Coordinator) Sessions() int { return c.sessions }

// Hellos are what the sessions began with.
func (c *Coordinator) Hellos() []*fleetv1.Hello { return c.hellos }

// Drained is what the agent said last of stopping; nil if it said nothing.
func (c *Coordinator) Drained() *fleetv1.Drain { return c.drain }

// Beat is the last heartbeat; nil before the first.
func (c *Coordinator) Beat() *fleetv1.Heartbeat { return c.beat }

// Beats is how many heartbeats came.
func (c *Coordinator) Beats() int { return c.beats }

// Renewed is how many certificates were renewed.
func (c *Coordinator) Renewed() int { return c.renewed }

// AddBlob stores content under its digest, and returns that.
func (c *Coordinator) AddBlob(data []byte) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.addBlobLocked(data)
}

// Blob returns stored content.
func (c *Coordinator) Blob(digest string) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.blobs[digest]
}

// Artifacts returns what was named so far.
func (c *Coordinator) Artifacts() []*corev1.Artifact {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*corev1.Artifact(nil), c.artifacts...)
}

// Join implements fleetv1.JoinServiceServer.
func (c *Coordinator) Join(_ context.Context, r *fleetv1.JoinRequest) (*fleetv1.JoinResponse, error) {
	if r.GetToken() != c.JoinToken() {
		return nil, errDenied("no such token")
	}
	cert, err := c.certify(r.GetCsr())
	if err != nil {
		return nil, err
	}
	return &fleetv1.JoinResponse{AgentId: "agent-1", Certificate: cert, Ca: c.caPEM}, nil
}

// Renew implements fleetv1.FleetServiceServer.
func (c *Coordinator) Renew(_ context.Context, r *fleetv1.RenewRequest) (*fleetv1.RenewResponse, error) {
	cert, err := c.certify(r.GetCsr())
	c.mu.Lock()
	defer c.mu.Unlock()
	c.renewed++
	c.signalLocked()
	return &fleetv1.RenewResponse{Certificate: cert}, err
}

func (c *Coordinator) certify(csr []byte) ([]byte, error) {
	pub, err := tlsutil.ParseCSR(csr)
	if err != nil {
		return nil, err
	}
	uris, err := tlsutil.AgentIdentity{ID: "agent-1", Pool: "default", Labels: []string{"linux"}}.URIs()
	if err != nil {
		return nil, err
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return nil, err
	}
	der, err := c.sign(pub, &x509.Certificate{
		SerialNumber: serial, NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(c.CertLife), URIs: uris,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return nil, err
	}
	return tlsutil.EncodeCert(der), nil
}
