package web

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/net/netutil"

	"github.com/slipway-ci/slipway/coordinator/identity"
	"github.com/slipway-ci/slipway/internal/clock"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
)

// Limits of the server.
const (
	maxConns  = 1024
	maxHeader = 16 << 10
	// headerTimeout, writeTimeout and idleTimeout end slow clients. What streams has writeTimeout for each piece.
	headerTimeout = 5 * time.Second
	writeTimeout  = 30 * time.Second
	idleTimeout   = 2 * time.Minute
	// maxPages are made at once, of which maxUserPages for one user; the next wait for nothing and are told to come again.
	maxPages, maxUserPages = 64, 16
	// maxStreams are followed at once, of which maxUserStreams by one user.
	maxStreams, maxUserStreams = 256, 24
)

// Sessions signs browsers in. Implemented by identity.Tokens.
type Sessions interface {
	SignIn(ctx context.Context, code string) (session string, expires time.Time, p identity.Principal, err error)
	Session(ctx context.Context, session string) (p identity.Principal, expires time.Time, err error)
}

// Deps is what the pages are made of.
type Deps struct {
	Runs      apiv1.RunServiceServer
	Logs      apiv1.LogServiceServer
	Artifacts apiv1.ArtifactServiceServer
	Sessions  Sessions
	// Name tells this coordinator's cookie from others' on the same host, whose cookies browsers don't keep apart by port.
	Name  string
	Clock clock.Clock
	Log   *slog.Logger
	// Stop ends what streams when the coordinator stops.
	Stop <-chan struct{}
}

// site serves the pages.
type site struct {
	Deps
	pages, streams *quota
}

// Handler serves all pages.
func Handler(d Deps) http.Handler {
	s := &site{Deps: d, pages: newQuota(maxPages, maxUserPages), streams: newQuota(maxStreams, maxUserStreams)}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /signin", s.signIn)
	mux.HandleFunc("GET /signout", s.signOut)
	mux.HandleFunc("GET /static/{version}/{file}", s.static)
	mux.HandleFunc("GET /{$}", s.page(s.runList))
	mux.HandleFunc("GET /runs/{run}", s.page(s.run))
	mux.HandleFunc("GET /runs/{run}/jobs/{job}", s.page(s.job))
	mux.HandleFunc("GET /runs/{run}/jobs/{job}/log", s.page(s.logWindow))
	mux.HandleFunc("GET /runs/{run}/jobs/{job}/raw", s.stream(s.rawLog))
	mux.HandleFunc("GET /runs/{run}/artifacts/{name}", s.stream(s.artifact))
	mux.HandleFunc("GET /runs/{run}/events", s.stream(s.runEvents))
	mux.HandleFunc("GET /runs/{run}/jobs/{job}/events", s.stream(s.jobEvents))
	mux.HandleFunc("GET /", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, http.StatusNotFound, "There is no such page.")
	})
	return secure(mux)
}

// NewServer serves h over TLS 1.3 with a certificate that is asked for at each handshake.
func NewServer(h http.Handler, cert func() (*tls.Certificate, error), log *slog.Logger) *http.Server {
	return &http.Server{Handler: h, ReadHeaderTimeout: headerTimeout, ReadTimeout: headerTimeout * 2, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		// What clients do wrong at the handshake (a browser that does not know the CA yet) is no error of ours.
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS13,
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert() }}}
}

// Serve serves until the server is closed.
func Serve(s *http.Server, l net.Listener) error {
	if err := s.ServeTLS(netutil.LimitListener(l, maxConns), "", ""); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// policy lets a page load what this server serves, and nothing run or styled that is written into it.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// secure sets what browsers are to enforce, and lets nothing through that could change something.
func secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "these pages are read-only", http.StatusMethodNotAllowed)
			return
		}
		next.ServeHTTP(w, r)
	})
}
