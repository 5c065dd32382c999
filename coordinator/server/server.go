// Package server is a whole coordinator: it wires the store, the election, the engine, the gateway and the API into one process.
//
//	Run:  store → identity → listeners → serve ┐
//	                    └ lead: campaign → engine → (term lost: sessions end, campaign again)
//	stop: no new calls → sessions and followers end → the engine stops → the term is handed over → the store closes
//
// Stopping kills no job: agents keep their reports and logs, and come back.
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"time"

	grpcprom "github.com/grpc-ecosystem/go-grpc-middleware/providers/prometheus"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-ci/slipway/coordinator/artifacts"
	"github.com/slipway-ci/slipway/coordinator/blob/disk"
	"github.com/slipway-ci/slipway/coordinator/config"
	"github.com/slipway-ci/slipway/coordinator/engine"
	"github.com/slipway-ci/slipway/coordinator/gateway"
	"github.com/slipway-ci/slipway/coordinator/history"
	"github.com/slipway-ci/slipway/coordinator/identity"
	"github.com/slipway-ci/slipway/coordinator/images"
	"github.com/slipway-ci/slipway/coordinator/logs"
	"github.com/slipway-ci/slipway/coordinator/relay"
	"github.com/slipway-ci/slipway/coordinator/secrets"
	webpages "github.com/slipway-ci/slipway/coordinator/web"
	"github.com/slipway-ci/slipway/internal/clock"
	"github.com/slipway-ci/slipway/internal/id"
	"github.com/slipway-ci/slipway/internal/spans"
	"github.com/slipway-ci/slipway/internal/tlsutil"
)

// Files in the data directory that others read.
const (
	// CAFile is the CA's certificate, for clients and agents.
	CAFile = "pki/ca.pem"
	// AdminTokenFile holds a token of group admins, readable by its owner only. Made again at start if it is missing or has ended.
	AdminTokenFile = "admin.token"
	// SecretsDir has the sealed secrets, and the variables.
	SecretsDir = "secrets"
)

// Server is one coordinator.
type Server struct {
	conf config.Config
	log  *slog.Logger

	clock    clock.Clock
	ids      *id.Source
	registry *prometheus.Registry
	metrics  *engine.Metrics
	ca       *identity.CA
	blobs    *disk.Store
	logs     *logs.Store
	images   *images.Resolver
	secrets  *secrets.Store
	control  *control
	relay    relay.Relay
	history  *history.History
	keeping  keepMetrics
	tracers  trace.TracerProvider
	logBytes prometheus.Counter
	rpcs     *grpcprom.ServerMetrics

	grpcListener, httpListener, webListener net.Listener
	// webURL is where browsers find the pages; "" if there are none.
	webURL  string
	webCert tlsutil.CertFunc
	ready   chan struct{}
}

// Option of a server.
type Option func(*Server)

// WithTraces sends the spans of runs and calls to a provider whose ids are of spans.IDs; nil traces nothing.
func WithTraces(p trace.TracerProvider) Option { return func(s *Server) { s.tracers = p } }

// New opens the data directory and the listeners of a coordinator. Run it; it owns them from then on.
func New(conf config.Config, log *slog.Logger, options ...Option) (*Server, error) {
	if conf.DataDir == "" {
		return nil, errors.New("the coordinator's configuration has no data_dir")
	}
	if err := conf.Check(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(conf.DataDir, 0o700); err != nil {
		return nil, fmt.Errorf("making data_dir: %w", err)
	}
	s := &Server{conf: conf, log: log, clock: clock.Real{}, registry: prometheus.NewRegistry(), control: newControl(), ready: make(chan struct{})}
	for _, o := range options {
		o(s)
	}
	s.ids = id.NewSource(s.clock.Now)
	s.registerMetrics()
	s.metrics = engine.NewMetrics(s.registry)
	s.registerKeepMetrics()
	if err := s.open(); err != nil {
		return nil, errors.Join(err, s.release())
	}
	return s, nil
}

func (s *Server) open() (err error) {
	dir := s.conf.DataDir
	if s.ca, err = identity.OpenCA(filepath.Join(dir, filepath.Dir(CAFile)), s.clock.Now()); err != nil {
		return err
	}
	if s.blobs, err = disk.Open(filepath.Join(dir, "blobs")); err != nil {
		return err
	}
	if s.logs, err = logs.Open(filepath.Join(dir, "logs"), s.log); err != nil {
		return err
	}
	if err = s.openHistory(context.Background()); err != nil {
		return err
	}
	if s.images, err = images.New(s.conf.Registries, s.clock); err != nil {
		return err
	}
	key := secrets.Key{File: s.conf.Secrets.KeyFile, Command: s.conf.Secrets.KeyCommand}
	if s.secrets, err = secrets.Open(context.Background(), filepath.Join(dir, SecretsDir), key, s.clock, s.log); err != nil {
		return err
	}
	if s.grpcListener, err = listen(s.conf.Listen); err != nil {
		return fmt.Errorf("listening for gRPC (another coordinator may be running; see `listen:` in the configuration): %w", err)
	}
	if s.conf.Metrics != "" {
		if s.httpListener, err = listen(s.conf.Metrics); err != nil {
			return fmt.Errorf("listening for /metrics (see `metrics:` in the configuration): %w", err)
		}
	}
	return s.openWeb()
}

func listen(address string) (net.Listener, error) {
	return new(net.ListenConfig).Listen(context.Background(), "tcp", address)
}

// release closes what open opened, as far as it came.
func (s *Server) release() error {
	err := s.closeListeners()
	if s.images != nil {
		s.images.Close()
	}
	if s.history != nil {
		err = errors.Join(err, s.history.Close())
	}
	if s.logs != nil {
		err = errors.Join(err, s.logs.Close())
	}
	return err
}

func (s *Server) closeListeners() error {
	var errs []error
	for _, l := range []net.Listener{s.grpcListener, s.httpListener, s.webListener} {
		if l != nil {
			if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// tracer of what the coordinator tells about runs; nil if nothing is traced.
func (s *Server) tracer() trace.Tracer {
	if s.tracers == nil {
		return nil
	}
	return s.tracers.Tracer("github.com/slipway-ci/slipway/coordinator", trace.WithSchemaURL(spans.SchemaURL))
}

// Addr returns the address of the gRPC server.
func (s *Server) Addr() string { return s.grpcListener.Addr().String() }

// MetricsAddr returns the address of /metrics and /healthz; "" if there is none.
func (s *Server) MetricsAddr() string {
	if s.httpListener == nil {
		return ""
	}
	return s.httpListener.Addr().String()
}

// Ready is closed once the coordinator leads and serves.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Control is the engine of the current term, for who has the coordinator in its own process; between terms its calls are NOT_LEADER.
func (s *Server) Control() engine.Control { return s.control }

// Run serves until ctx ends, then stops in order. The error is nil after an orderly stop.
func (s *Server) Run(ctx context.Context) error {
	be, err := openBackend(ctx, s.conf, s.clock, s.ids.New(), s.log)
	if err != nil {
		return errors.Join(err, s.release())
	}
	err = s.serve(ctx, be)
	return errors.Join(err, s.closeListeners(), be.close(), s.release())
}

func (s *Server) serve(ctx context.Context, be *backend) error {
	tokens, err := identity.NewTokens(s.ca, be.store, s.clock)
	if err != nil {
		return err
	}
	path := filepath.Join(s.conf.DataDir, AdminTokenFile)
	if err := tokens.EnsureFile(ctx, path, "local", []string{identity.Admins}, s.ids.New()); err != nil {
		return fmt.Errorf("making the local administrator's token: %w", err)
	}
	arts := artifacts.New(s.control, s.blobs)
	gw := gateway.New(gateway.Deps{Control: s.control, CA: s.ca, Tokens: tokens, Blobs: s.blobs, Logs: s.logs, Artifacts: arts, Secrets: s.secrets, Agents: s.conf.Agents,
		BlobBytes: s.conf.Limits.BlobBytes, LogBytes: s.logBytes.Add, Relay: &s.relay, Clock: s.clock, Log: s.log})
	stop := make(chan struct{})
	rpc := s.newGRPC(be, tokens, arts, gw, stop)
	metrics := s.newHTTP(be)
	web := s.newWeb(be, tokens, arts, stop)

	// Leading outlives serving: calls that are being answered still need the engine.
	leading, stopLeading := context.WithCancel(context.WithoutCancel(ctx))
	defer stopLeading()
	var group errgroup.Group
	serving, stopServing := context.WithCancel(ctx)
	run := func(what string, f func() error) {
		group.Go(func() error {
			defer stopServing()
			if err := f(); err != nil {
				return fmt.Errorf("%s: %w", what, err)
			}
			return nil
		})
	}
	run("leading", func() error { return s.lead(leading, be, gw) })
	run("gRPC server", func() error { return rpc.Serve(s.grpcListener) })
	if s.httpListener != nil {
		run("metrics server", func() error { return ignoreClosed(metrics.Serve(s.httpListener)) })
	}
	if web != nil {
		run("web server", func() error { return webpages.Serve(web, s.webListener) })
	}
	if be.failed != nil {
		run("store", func() error { return be.watch(leading) })
	}
	s.log.Info("coordinator is serving", "addr", s.Addr(), "metrics", s.MetricsAddr(), "web", s.webURL, "data_dir", s.conf.DataDir)
	<-serving.Done()
	s.log.Info("coordinator is stopping")
	close(stop)
	gw.Stop()
	stopGRPC(rpc, stopPatience)
	if web != nil {
		stopWeb(web, stopPatience)
	}
	stopLeading()
	_ = metrics.Close()
	return group.Wait()
}

// stopPatience is how long calls have to end by themselves when the coordinator stops.
const stopPatience = 5 * time.Second
