package server

import (
	"context"
	"errors"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/recovery"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/propagation"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/stats"

	"github.com/slipway-ci/slipway/coordinator/api"
	"github.com/slipway-ci/slipway/coordinator/artifacts"
	"github.com/slipway-ci/slipway/coordinator/gateway"
	"github.com/slipway-ci/slipway/coordinator/identity"
	"github.com/slipway-ci/slipway/coordinator/images"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	"github.com/slipway-ci/slipway/internal/tlsutil"
	"github.com/slipway-ci/slipway/pipeline/compile"
	"github.com/slipway-ci/slipway/pipeline/diag"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// Transport limits.
const (
	// maxMessage is above a workflow and its payload at their default limits, so that one somewhat too large is refused with a reason.
	maxMessage = 16 << 20
	// streamWindow and connWindow are given, so that gRPC does not measure the bandwidth with a ping for every message: a fleet that is idle but for
	// its heartbeats would cost twice as much.
	streamWindow, connWindow = 1 << 20, 4 << 20
	// noBuffer: TLS has a whole record when a part of one is asked for, so a buffer of gRPC's own would only hold memory for each agent.
	noBuffer = 0
	// maxStreams of one connection.
	maxStreams = 1000
	// pingEvery is how often clients may ping; more often ends their connection.
	pingEvery = 5 * time.Second
	// idlePing and pingTimeout find connections that are dead without a word.
	idlePing    = 30 * time.Second
	pingTimeout = 15 * time.Second
)

// alwaysHosts are in every server certificate, for callers on the same host.
var alwaysHosts = []string{"localhost", "127.0.0.1", "::1"}

// newCert is the certificate of this coordinator, by its own CA.
func (s *Server) newCert() *identity.ServerCert {
	return identity.NewServerCert(s.ca, append(append([]string{}, alwaysHosts...), s.conf.Hosts...), s.clock)
}

func (s *Server) newGRPC(be *backend, tokens *identity.Tokens, arts *artifacts.Artifacts, gw *gateway.Gateway, stop <-chan struct{}) *grpc.Server {
	cert := s.newCert()
	guard := identity.NewGuard(tokens, s.clock, s.log)
	recoverer := recovery.WithRecoveryHandlerContext(func(ctx context.Context, p any) error {
		s.log.ErrorContext(ctx, "a call panicked", "panic", p, "stack", string(debug.Stack()))
		return rpcerr.New(rpcerr.Internal, "the call failed in the coordinator; its log says why")
	})
	rpc := grpc.NewServer(append(s.tracing(),
		grpc.Creds(credentials.NewTLS(tlsutil.ServerTLS(cert.Get, s.ca.Pool()))),
		grpc.ChainUnaryInterceptor(s.rpcs.UnaryServerInterceptor(), recovery.UnaryServerInterceptor(recoverer), guard.Unary),
		grpc.ChainStreamInterceptor(s.rpcs.StreamServerInterceptor(), recovery.StreamServerInterceptor(recoverer), guard.Stream),
		grpc.MaxRecvMsgSize(maxMessage), grpc.MaxConcurrentStreams(maxStreams),
		grpc.InitialWindowSize(streamWindow), grpc.InitialConnWindowSize(connWindow), grpc.ReadBufferSize(noBuffer), grpc.HeaderTableSize(0),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: pingEvery, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: idlePing, Timeout: pingTimeout}),
	)...)
	api.Register(rpc, s.apiDeps(be, tokens, arts, stop))
	fleetv1.RegisterJoinServiceServer(rpc, gw)
	fleetv1.RegisterFleetServiceServer(rpc, gw)
	healthv1.RegisterHealthServer(rpc, health.NewServer())
	s.rpcs.InitializeMetrics(rpc)
	return rpc
}

// apiDeps is what the API's servers work with.
func (s *Server) apiDeps(be *backend, tokens *identity.Tokens, arts *artifacts.Artifacts, stop <-chan struct{}) api.Deps {
	return api.Deps{Control: s.control, Compile: compileFile, Images: images.NewPlanner(s.images, s.conf.Runners), Store: be.store,
		Blobs: s.blobs, Logs: s.logs, Sealed: s.history, Artifacts: arts, Tokens: tokens, Secrets: s.secrets, Limits: s.conf.Limits, Clock: s.clock, Log: s.log,
		Relay: &s.relay, NewID: s.ids.New, MaxHold: s.conf.Debug.MaxHold.Std(), Pages: s.pages(), Stop: stop}
}

// endless are the calls that last as long as their caller: they would be spans of hours.
var endless = []string{"/Session", "/PushLogs", "/WatchRun", "/StreamLogs", "/Attach", "/Debug"}

// tracing makes a span of every other call, if anything is traced at all.
func (s *Server) tracing() []grpc.ServerOption {
	if s.tracers == nil {
		return nil
	}
	bounded := func(info *stats.RPCTagInfo) bool {
		return !slices.ContainsFunc(endless, func(name string) bool { return strings.HasSuffix(info.FullMethodName, name) })
	}
	return []grpc.ServerOption{grpc.StatsHandler(otelgrpc.NewServerHandler(otelgrpc.WithTracerProvider(s.tracers),
		otelgrpc.WithPropagators(propagation.TraceContext{}), otelgrpc.WithFilter(bounded)))}
}

// compileFile is the api's Compiler.
func compileFile(path string, src []byte, read func(string) ([]byte, error)) (*planv1.Plan, diag.List) {
	return compile.Compile(path, src, compile.Options{Read: read})
}

// stopGRPC lets calls end, for a while.
func stopGRPC(rpc *grpc.Server, patience time.Duration) {
	force := time.AfterFunc(patience, rpc.Stop)
	defer force.Stop()
	rpc.GracefulStop()
}

// newHTTP serves /metrics and /healthz on a loopback address.
func (s *Server) newHTTP(be *backend) *http.Server {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.registry, promhttp.HandlerOpts{Registry: s.registry}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
		defer cancel()
		if _, _, err := be.store.Get(ctx, electionPrefix); err != nil {
			http.Error(w, "the store can't be reached: "+err.Error(), http.StatusServiceUnavailable)
			return
		}
		if !s.control.leads() {
			http.Error(w, "not leading", http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ok\n"))
	})
	return &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
}

func ignoreClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
