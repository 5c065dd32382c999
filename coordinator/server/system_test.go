package server_test

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/slipway-ci/slipway/coordinator/config"
	"github.com/slipway-ci/slipway/coordinator/server"
	"github.com/slipway-ci/slipway/internal/id"
	"github.com/slipway-ci/slipway/internal/tlsutil"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

var ids = id.NewSource(time.Now)

// imageRegistry serves one image, library/runner:1, on loopback and returns its host and the image's digest.
func imageRegistry(t *testing.T) (host, digest string) {
	t.Helper()
	srv := httptest.NewServer(registry.New(registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo))))
	t.Cleanup(srv.Close)
	host = strings.TrimPrefix(srv.URL, "http://")
	img, err := random.Image(10, 1)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(host+"/library/runner:1", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img); err != nil {
		t.Fatal(err)
	}
	h, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return host, h.String()
}

// system is a coordinator that can be stopped and started again on the same data.
type system struct {
	t    *testing.T
	conf config.Config
	srv  *server.Server
	stop context.CancelFunc
	done chan error
}

func start(t *testing.T, kind string, change ...func(*config.Config)) *system {
	t.Helper()
	host, _ := imageRegistry(t)
	dir, err := os.MkdirTemp("", "slw") // short: the embedded etcd has a socket in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	conf := config.Default()
	conf.DataDir, conf.Listen, conf.Metrics, conf.Store.Kind = dir, "127.0.0.1:0", "127.0.0.1:0", kind
	conf.Runners = map[string]config.Runner{"ubuntu-latest": {Image: "runner:1", Pool: "default"}}
	conf.Registries = map[string]config.Registry{"docker.io": {Mirror: host, PlainHTTP: true}}
	for _, f := range change {
		f(&conf)
	}
	s := &system{t: t, conf: conf}
	s.start()
	t.Cleanup(s.shutdown)
	return s
}

func (s *system) start() {
	s.t.Helper()
	srv, err := server.New(s.conf, slog.New(slog.DiscardHandler))
	if err != nil {
		s.t.Fatal(err)
	}
	s.conf.Listen = srv.Addr() // the same address after a restart
	ctx, cancel := context.WithCancel(context.Background())
	s.srv, s.stop, s.done = srv, cancel, make(chan error, 1)
	done := s.done
	go func() { done <- srv.Run(ctx) }()
	select {
	case <-srv.Ready():
	case err := <-done:
		s.t.Fatalf("did not start: %v", err)
	case <-time.After(30 * time.Second):
		s.t.Fatal("not ready after 30 s")
	}
}

// startError is why a coordinator with this etcd does not start.
func startError(t *testing.T, etcd config.ExternalEtcd) error {
	t.Helper()
	conf := config.Default()
	conf.DataDir, conf.Listen, conf.Metrics, conf.Store = t.TempDir(), "127.0.0.1:0", "", config.Store{Kind: config.StoreExternal, External: etcd}
	srv, err := server.New(conf, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	return srv.Run(t.Context())
}

func (s *system) shutdown() {
	if s.stop == nil {
		return
	}
	s.stop()
	s.stop = nil
	if err := <-s.done; err != nil {
		s.t.Errorf("stopping: %v", err)
	}
}

func (s *system) read(file string) string {
	s.t.Helper()
	data, err := os.ReadFile(filepath.Join(s.conf.DataDir, file))
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.TrimSpace(string(data))
}

func (s *system) dial(opts ...grpc.DialOption) *grpc.ClientConn {
	s.t.Helper()
	conn, err := grpc.NewClient(s.srv.Addr(), opts...)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// admin connects as people do on the coordinator's own host: with the token alone, whose pin recognises the coordinator.
func (s *system) admin() *grpc.ClientConn {
	token := s.read(server.AdminTokenFile)
	pin, ok := tlsutil.TokenPin(token)
	if !ok {
		s.t.Fatalf("no pin in the token")
	}
	return s.dial(grpc.WithTransportCredentials(credentials.NewTLS(tlsutil.PinnedTLS(s.srv.Addr(), pin, nil))), grpc.WithPerRPCCredentials(bearer(token)))
}

type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

func (bearer) RequireTransportSecurity() bool { return true }

// join makes a join token and an agent with it.
func (s *system) join(admin *grpc.ClientConn) *grpc.ClientConn {
	s.t.Helper()
	tok, err := apiv1.NewAgentServiceClient(admin).CreateJoinToken(s.t.Context(), &apiv1.CreateJoinTokenRequest{RequestId: ids.New(), Pool: "default"})
	if err != nil {
		s.t.Fatal(err)
	}
	keyPEM, csr, err := tlsutil.NewKeyAndCSR("host")
	if err != nil {
		s.t.Fatal(err)
	}
	pin, _ := tlsutil.TokenPin(tok.GetToken())
	joining := s.dial(grpc.WithTransportCredentials(credentials.NewTLS(tlsutil.PinnedTLS(s.srv.Addr(), pin, nil))))
	resp, err := fleetv1.NewJoinServiceClient(joining).Join(s.t.Context(), &fleetv1.JoinRequest{Token: tok.GetToken(), Csr: csr, Hostname: "host"})
	if err != nil {
		s.t.Fatal(err)
	}
	if string(resp.GetCa()) != s.read(server.CAFile)+"\n" {
		s.t.Fatal("the CA that an agent gets is not the one on disk")
	}
	pair, err := tlsutil.KeyPair(resp.GetCertificate(), keyPEM)
	if err != nil {
		s.t.Fatal(err)
	}
	conf, err := tlsutil.ClientTLS(resp.GetCa(), func() (*tls.Certificate, error) { return pair, nil })
	if err != nil {
		s.t.Fatal(err)
	}
	return s.dial(grpc.WithTransportCredentials(credentials.NewTLS(conf)))
}

const workflow = `name: demo
on: push
jobs:
  build:
    runs-on: ubuntu-latest
    steps:
      - run: echo hello
`

func submit(ctx context.Context, conn *grpc.ClientConn, requestID, src string) (*apiv1.SubmitRunResponse, error) {
	return apiv1.NewRunServiceClient(conn).SubmitRun(ctx, &apiv1.SubmitRunRequest{RequestId: requestID, Path: ".github/workflows/ci.yml", Workflow: []byte(src),
		Source: &corev1.Source{Sha: strings.Repeat("0", 40), Ref: "refs/heads/main", Repository: "o/r"}})
}

// agentSession is a hand-driven agent.
type agentSession struct {
	t *testing.T
	grpc.BidiStreamingClient[fleetv1.SessionRequest, fleetv1.SessionResponse]
}

func openSession(t *testing.T, conn *grpc.ClientConn, attempts ...string) (agentSession, *fleetv1.Welcome) {
	t.Helper()
	st, err := fleetv1.NewFleetServiceClient(conn).Session(t.Context(), grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	a := agentSession{t: t, BidiStreamingClient: st}
	a.send(&fleetv1.SessionRequest{Message: &fleetv1.SessionRequest_Hello{Hello: &fleetv1.Hello{Hostname: "host", Version: "v1", Attempts: attempts,
		Capacity: &fleetv1.Capacity{CpuMilli: 4000, Memory: 8 << 30, Slots: 2}}}})
	return a, a.next(func(m *fleetv1.SessionResponse) bool { return m.GetWelcome() != nil }).GetWelcome()
}

func (a agentSession) send(m *fleetv1.SessionRequest) {
	a.t.Helper()
	if err := a.Send(m); err != nil {
		a.t.Fatal(err)
	}
}

func (a agentSession) next(match func(*fleetv1.SessionResponse) bool) *fleetv1.SessionResponse {
	a.t.Helper()
	for {
		m, err := a.Recv()
		if err != nil {
			a.t.Fatal(err)
		}
		if match(m) {
			return m
		}
	}
}

func (a agentSession) report(r *corev1.Report) {
	a.t.Helper()
	a.send(&fleetv1.SessionRequest{Message: &fleetv1.SessionRequest_Report{Report: r}})
	a.next(func(m *fleetv1.SessionResponse) bool { return m.GetReportAck().GetSeq() == r.GetSeq() })
}
