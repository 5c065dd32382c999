package coordtest

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/slipway-ci/slipway/coordinator/api"
	"github.com/slipway-ci/slipway/coordinator/artifacts"
	"github.com/slipway-ci/slipway/coordinator/blob/disk"
	"github.com/slipway-ci/slipway/coordinator/config"
	"github.com/slipway-ci/slipway/coordinator/gateway"
	"github.com/slipway-ci/slipway/coordinator/identity"
	"github.com/slipway-ci/slipway/coordinator/images"
	"github.com/slipway-ci/slipway/coordinator/logs"
	"github.com/slipway-ci/slipway/coordinator/relay"
	"github.com/slipway-ci/slipway/coordinator/secrets"
	"github.com/slipway-ci/slipway/coordinator/store/memstore"
	"github.com/slipway-ci/slipway/internal/clock"
	"github.com/slipway-ci/slipway/internal/id"
	"github.com/slipway-ci/slipway/internal/tlsutil"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

// Harness is a gateway and an API over a real TLS gRPC connection, around a Control that the test plays.
type Harness struct {
	T       testing.TB
	Control *Control
	Gateway *gateway.Gateway
	CA      *identity.CA
	Tokens  *identity.Tokens
	Blobs   *disk.Store
	Logs    *logs.Store
	Secrets *secrets.Store
	LogDir  string
	Store   *memstore.Store
	// Clock is the one of deadlines; certificates and tokens live by it too. It starts at the real time, because TLS checks by that.
	Clock *clock.Fake
	Conf  config.Config
	Addr  string
	Audit *AuditLog
	stop  chan struct{}
	relay relay.Relay
}

// AuditLog keeps log records. Safe for concurrent use.
type AuditLog struct {
	mu      sync.Mutex
	records []map[string]string
}

// Enabled implements slog.Handler.
func (*AuditLog) Enabled(context.Context, slog.Level) bool { return true }

// Handle implements slog.Handler.
func (l *AuditLog) Handle(_ context.Context, r slog.Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	m := map[string]string{"msg": r.Message}
	r.Attrs(func(a slog.Attr) bool { m[a.Key] = a.Value.String(); return true })
	l.records = append(l.records, m)
	return nil
}

// WithAttrs implements slog.Handler.
func (l *AuditLog) WithAttrs([]slog.Attr) slog.Handler { return l }

// WithGroup implements slog.Handler.
func (l *AuditLog) WithGroup(string) slog.Handler { return l }

// Find returns the records with this message.
func (l *AuditLog) Find(msg string) []map[string]string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []map[string]string
	for _, r := range l.records {
		if r["msg"] == msg {
			out = append(out, r)
		}
	}
	return out
}

// Options change what a harness serves.
type Options struct {
	Config  func(*config.Config)
	Compile api.Compiler
	Pages   *api.Pages
}

// New starts a harness; the test's end stops it.
func New(t testing.TB, o Options) *Harness {
	t.Helper()
	h := &Harness{T: t, Control: NewControl(), Store: memstore.New(), Clock: clock.NewFake(time.Now()), Conf: config.Default(), Audit: &AuditLog{}, stop: make(chan struct{})}
	if o.Config != nil {
		o.Config(&h.Conf)
	}
	log := slog.New(h.Audit)
	var err error
	must := func(e error) {
		t.Helper()
		if e != nil {
			t.Fatal(e)
		}
	}
	h.CA, err = identity.OpenCA(t.TempDir(), time.Now())
	must(err)
	h.Tokens, err = identity.NewTokens(h.CA, h.Store, h.Clock)
	must(err)
	h.Blobs, err = disk.Open(t.TempDir())
	must(err)
	h.LogDir = t.TempDir()
	h.Logs, err = logs.Open(h.LogDir, log)
	must(err)
	h.Secrets, err = secrets.Open(t.Context(), t.TempDir(), secrets.Key{File: filepath.Join(t.TempDir(), "key")}, h.Clock, log)
	must(err)
	resolver, err := images.New(h.Conf.Registries, h.Clock)
	must(err)
	arts := artifacts.New(h.Control, h.Blobs)
	h.Gateway = gateway.New(gateway.Deps{Control: h.Control, CA: h.CA, Tokens: h.Tokens, Blobs: h.Blobs, Logs: h.Logs, Artifacts: arts, Secrets: h.Secrets, Agents: h.Conf.Agents,
		BlobBytes: h.Conf.Limits.BlobBytes, Relay: &h.relay, Clock: h.Clock, Log: log})
	guard := identity.NewGuard(h.Tokens, h.Clock, log)
	cert := identity.NewServerCert(h.CA, []string{"127.0.0.1"}, clock.Real{})
	s := grpc.NewServer(grpc.Creds(credentials.NewTLS(tlsutil.ServerTLS(cert.Get, h.CA.Pool()))),
		grpc.UnaryInterceptor(guard.Unary), grpc.StreamInterceptor(guard.Stream), grpc.MaxRecvMsgSize(16<<20))
	api.Register(s, api.Deps{Control: h.Control, Compile: o.Compile, Images: images.NewPlanner(resolver, h.Conf.Runners), Store: h.Store, Blobs: h.Blobs,
		Logs: h.Logs, Artifacts: arts, Tokens: h.Tokens, Secrets: h.Secrets, Limits: h.Conf.Limits, Clock: h.Clock, Log: log, Relay: &h.relay,
		NewID: id.NewSource(time.Now).New, MaxHold: h.Conf.Debug.MaxHold.Std(), Pages: o.Pages, Stop: h.stop})
	fleetv1.RegisterJoinServiceServer(s, h.Gateway)
	fleetv1.RegisterFleetServiceServer(s, h.Gateway)
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	must(err)
	h.Addr = l.Addr().String()
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	t.Cleanup(func() {
		close(h.stop)
		h.Gateway.Stop()
		s.Stop()
		if err := <-served; err != nil {
			t.Errorf("serving: %v", err)
		}
		resolver.Close()
	})
	return h
}

// Anonymous connects without a token or a certificate.
func (h *Harness) Anonymous() *grpc.ClientConn { return h.dial(nil, "") }

// User connects with a fresh token of a user in groups.
func (h *Harness) User(name string, groups ...string) *grpc.ClientConn {
	h.T.Helper()
	r := identity.Request{ID: name + time.Now().String(), Principal: identity.Principal{Name: "test"}}
	token, _, err := h.Tokens.CreateUser(h.T.Context(), r, name, groups, 0)
	if err != nil {
		h.T.Fatal(err)
	}
	return h.dial(nil, token)
}

// Agent joins as a new agent of pool default and connects with its certificate.
func (h *Harness) Agent() (id string, conn *grpc.ClientConn) {
	h.T.Helper()
	r := identity.Request{ID: time.Now().String(), Principal: identity.Principal{Name: "test"}}
	token, _, err := h.Tokens.CreateJoin(h.T.Context(), r, "default", []string{"big"}, 0, 1)
	if err != nil {
		h.T.Fatal(err)
	}
	keyPEM, csr, err := tlsutil.NewKeyAndCSR("host")
	if err != nil {
		h.T.Fatal(err)
	}
	resp, err := fleetv1.NewJoinServiceClient(h.Anonymous()).Join(h.T.Context(), &fleetv1.JoinRequest{Token: token, Csr: csr, Hostname: "host"})
	if err != nil {
		h.T.Fatal(err)
	}
	return resp.GetAgentId(), h.WithCertificate(resp.GetCertificate(), keyPEM)
}

// WithCertificate connects with a client certificate.
func (h *Harness) WithCertificate(chainPEM, keyPEM []byte) *grpc.ClientConn {
	h.T.Helper()
	pair, err := tlsutil.KeyPair(chainPEM, keyPEM)
	if err != nil {
		h.T.Fatal(err)
	}
	return h.dial(func() (*tls.Certificate, error) { return pair, nil }, "")
}

func (h *Harness) dial(cert tlsutil.CertFunc, token string) *grpc.ClientConn {
	h.T.Helper()
	conf, err := tlsutil.ClientTLS(h.CA.PEM(), cert)
	if err != nil {
		h.T.Fatal(err)
	}
	opts := []grpc.DialOption{grpc.WithTransportCredentials(credentials.NewTLS(conf))}
	if token != "" {
		opts = append(opts, grpc.WithPerRPCCredentials(bearer(token)))
	}
	conn, err := grpc.NewClient(h.Addr, opts...)
	if err != nil {
		h.T.Fatal(err)
	}
	h.T.Cleanup(func() { _ = conn.Close() })
	return conn
}

type bearer string

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials.
func (bearer) RequireTransportSecurity() bool { return true }

// Await reads events until one equals want.
func (h *Harness) Await(want string) {
	h.T.Helper()
	deadline := time.After(2 * time.Minute)
	var seen []string
	for {
		select {
		case e := <-h.Control.Events:
			if e == want {
				return
			}
			seen = append(seen, e)
		case <-deadline:
			h.T.Fatalf("no event %q; had %q", want, seen)
		}
	}
}
