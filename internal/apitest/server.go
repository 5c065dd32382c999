// Package apitest is an API server that behaves, over a real TLS 1.3 connection on loopback, for tests of the client
// and of the commands. Its runs go where the test's Script sends them.
package apitest

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/slipway-ci/slipway/internal/rpcerr"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// Token is the only one that the server accepts.
const Token = "apitest-token"

// Server is the fake. Fields may be set before the first call; methods are safe for concurrent use.
type Server struct {
	// CA is the PEM certificate for Config.CA.
	CA []byte
	// Script drives a submitted run in a goroutine of its own; nil makes it succeed at once.
	Script func(r *Run)
	// Refuse, if it returns an error, ends a call before it does anything. method is the full gRPC name.
	Refuse func(method string) error
	// ListedAgents is what ListAgents answers; the other calls about agents find them by id or host name, and change them.
	ListedAgents []*apiv1.Agent

	address string
	cert    tls.Certificate

	mu       sync.Mutex
	server   *grpc.Server
	runs     []*Run
	requests map[string]*Run
	blobs    map[string][]byte
	zips     map[string][]byte
	calls    map[string]int
	tokens   []*apiv1.CreateTokenRequest
	joins    []*apiv1.CreateJoinTokenRequest
}

// Start serves until the test ends.
func Start(t *testing.T) *Server {
	t.Helper()
	s := &Server{requests: map[string]*Run{}, blobs: map[string][]byte{}, zips: map[string][]byte{}, calls: map[string]int{}}
	s.cert, s.CA = certificate(t)
	s.listen(t, "127.0.0.1:0")
	t.Cleanup(s.Stop)
	return s
}

// Address is where the server listens; it stays the same across Restart.
func (s *Server) Address() string { return s.address }

// Stop breaks every connection, as a killed coordinator would.
func (s *Server) Stop() {
	s.mu.Lock()
	server := s.server
	s.server = nil
	s.mu.Unlock()
	if server != nil {
		server.Stop()
	}
}

// Restart serves again on the same address, with the same runs.
func (s *Server) Restart(t *testing.T) {
	t.Helper()
	s.listen(t, s.address)
}

// Calls says how often a method, e.g. SubmitRun, arrived.
func (s *Server) Calls(method string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[method]
}

// Runs are all runs, oldest first.
func (s *Server) Runs() []*Run {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*Run(nil), s.runs...)
}

// Blob returns an uploaded blob.
func (s *Server) Blob(digest string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.blobs[digest]
}

// PutArtifact sets the zip of an artifact.
func (s *Server) PutArtifact(runID, name string, zip []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.zips[runID+"/"+name] = zip
}

// TokenRequests and JoinRequests are what was asked for.
func (s *Server) TokenRequests() []*apiv1.CreateTokenRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tokens
}

// JoinRequests are the join tokens that were asked for.
func (s *Server) JoinRequests() []*apiv1.CreateJoinTokenRequest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.joins
}

func (s *Server) listen(t *testing.T, address string) {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	s.address = l.Addr().String()
	creds := credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{s.cert}, MinVersion: tls.VersionTLS13})
	server := grpc.NewServer(grpc.Creds(creds), grpc.MaxRecvMsgSize(64<<20),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.UnaryInterceptor(s.unary), grpc.StreamInterceptor(s.stream))
	a := &api{s: s}
	apiv1.RegisterRunServiceServer(server, a)
	apiv1.RegisterLogServiceServer(server, a)
	apiv1.RegisterBlobServiceServer(server, a)
	apiv1.RegisterArtifactServiceServer(server, a)
	apiv1.RegisterAgentServiceServer(server, a)
	apiv1.RegisterTokenServiceServer(server, a)
	s.mu.Lock()
	s.server = server
	s.mu.Unlock()
	go func() { _ = server.Serve(l) }()
}

func (s *Server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	if err := s.admit(ctx, info.FullMethod); err != nil {
		return nil, err
	}
	return next(ctx, req)
}

func (s *Server) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	if err := s.admit(ss.Context(), info.FullMethod); err != nil {
		return err
	}
	return next(srv, ss)
}

func (s *Server) admit(ctx context.Context, method string) error {
	short := method
	for i := len(method) - 1; i >= 0; i-- {
		if method[i] == '/' {
			short = method[i+1:]
			break
		}
	}
	s.mu.Lock()
	s.calls[short]++
	refuse := s.Refuse
	s.mu.Unlock()
	md, _ := metadata.FromIncomingContext(ctx)
	if got := md.Get("authorization"); len(got) != 1 || got[0] != "Bearer "+Token {
		return rpcerr.New(rpcerr.Unauthenticated, "the token is not known")
	}
	if refuse != nil {
		return refuse(short)
	}
	return nil
}

// certificate makes a self-signed one for 127.0.0.1.
func certificate(t *testing.T) (tls.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "apitest"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// Run is one run of the fake. Its methods change it and wake its watchers.
type Run struct {
	// Request is what was submitted.
	Request *apiv1.SubmitRunRequest

	mu      sync.Mutex
	run     *apiv1.Run
	logs    []*apiv1.StreamLogsResponse
	sealed  bool
	changed chan struct{}
	// Cancelled is closed by the first CancelRun.
	Cancelled chan struct{}
	cancel    sync.Once
}

func newRun(n uint64, r *apiv1.SubmitRunRequest) *Run {
	return &Run{Request: r, changed: make(chan struct{}), Cancelled: make(chan struct{}), run: &apiv1.Run{
		Id: fmt.Sprintf("01run%021d", n), Number: n, Project: r.GetProject(), Name: "CI", Path: r.GetPath(), Event: r.GetEvent(),
		Source: r.GetSource(), State: corev1.RunState_RUN_STATE_QUEUED, CreatedMs: 1_700_000_000_000, Actor: "admin",
	}}
}

// ID is the run's id.
func (r *Run) ID() string { return r.run.GetId() }

// Update changes the run under its lock.
func (r *Run) Update(change func(*apiv1.Run)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change(r.run)
	r.wake()
}

// Log appends to the log of a job's step.
func (r *Run) Log(job string, step uint32, text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var at int64
	for _, m := range r.logs {
		if m.GetJobId() == job && m.GetStep() == step {
			at = m.GetOffset() + int64(len(m.GetData()))
		}
	}
	r.logs = append(r.logs, &apiv1.StreamLogsResponse{JobId: job, AttemptId: "a-" + job, Step: step, Offset: at, Data: []byte(text)})
	r.wake()
}

// End makes the run terminal and completes its logs.
func (r *Run) End(s corev1.RunState) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.run.State, r.sealed = s, true
	r.run.EndedMs = r.run.GetCreatedMs() + 1500
	r.wake()
}

func (r *Run) wake() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// look returns a copy of the run, the logs from number n on, whether they are complete, and what tells of the next change.
func (r *Run) look(n int) (*apiv1.Run, []*apiv1.StreamLogsResponse, bool, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return proto.Clone(r.run).(*apiv1.Run), r.logs[n:], r.sealed, r.changed
}
