package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/slipway-ci/slipway/coordinator/api"
	"github.com/slipway-ci/slipway/coordinator/artifacts"
	"github.com/slipway-ci/slipway/coordinator/config"
	"github.com/slipway-ci/slipway/coordinator/identity"
	webpages "github.com/slipway-ci/slipway/coordinator/web"
)

// openWeb listens for browsers, if the configuration has an address for them.
func (s *Server) openWeb() (err error) {
	conf := s.conf.Web
	if conf.Listen == "" {
		return nil
	}
	s.webCert = s.newCert().Get
	if conf.Cert != "" {
		files := &certFiles{cert: conf.Cert, key: conf.Key}
		if _, err := files.get(); err != nil {
			return fmt.Errorf("the certificate of the pages (see `web:` in the configuration): %w", err)
		}
		s.webCert = files.get
	}
	if s.webListener, err = listen(conf.Listen); err != nil {
		return fmt.Errorf("listening for browsers (see `web:` in the configuration): %w", err)
	}
	s.webURL = webURL(conf, s.conf.Hosts, s.webListener.Addr().String())
	return nil
}

// webURL is how browsers reach the pages that are served at an address.
func webURL(conf config.Web, hosts []string, address string) string {
	if conf.URL != "" {
		return strings.TrimSuffix(conf.URL, "/")
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "https://" + address
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "localhost"
		if len(hosts) > 0 {
			host = hosts[0]
		}
	}
	return "https://" + net.JoinHostPort(host, port)
}

// WebURL is where browsers find the pages; "" if there are none.
func (s *Server) WebURL() string { return s.webURL }

// pages are their addresses; nil if there are none.
func (s *Server) pages() *api.Pages {
	if s.webURL == "" {
		return nil
	}
	return &api.Pages{
		Run:    func(run string) string { return webpages.RunURL(s.webURL, run) },
		SignIn: func(code, run string) string { return webpages.SignInURL(s.webURL, code, run) },
	}
}

// newWeb makes the server of the pages; nil if there are none.
func (s *Server) newWeb(be *backend, tokens *identity.Tokens, arts *artifacts.Artifacts, stop <-chan struct{}) *http.Server {
	if s.webListener == nil {
		return nil
	}
	readers := api.NewReaders(s.apiDeps(be, tokens, arts, stop))
	pages := webpages.Handler(webpages.Deps{Runs: readers.Runs, Logs: readers.Logs, Artifacts: readers.Artifacts, Sessions: tokens, Name: s.ca.Pin()[:8], Clock: s.clock, Log: s.log, Stop: stop})
	return webpages.NewServer(pages, s.webCert, s.log)
}

// stopWeb lets pages that are being made be read, for a while.
func stopWeb(web *http.Server, patience time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if web.Shutdown(ctx) != nil {
		_ = web.Close()
	}
}

// certFiles is a certificate in files, read again when they change. Safe for concurrent use.
type certFiles struct {
	cert, key string

	mu     sync.Mutex
	read   [2]time.Time
	loaded *tls.Certificate
}

// get is a tlsutil.CertFunc. Files that can't be read, or do not belong together while they are being replaced, leave the one before in use.
func (f *certFiles) get() (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var now [2]time.Time
	for i, path := range []string{f.cert, f.key} {
		if info, err := os.Stat(path); err == nil {
			now[i] = info.ModTime()
		}
	}
	if f.loaded != nil && now == f.read {
		return f.loaded, nil
	}
	pair, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		if f.loaded != nil {
			return f.loaded, nil
		}
		return nil, err
	}
	f.loaded, f.read = &pair, now
	return f.loaded, nil
}
