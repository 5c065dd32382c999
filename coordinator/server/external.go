package server

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/slipway-ci/slipway/coordinator/config"
	"github.com/slipway-ci/slipway/coordinator/leader/etcdleader"
	"github.com/slipway-ci/slipway/coordinator/store/etcdstore"
	"github.com/slipway-ci/slipway/internal/clock"
)

// openExternal connects to an etcd of others. It is no error of this process if that goes away later: the term ends, and the next one begins
// when it is back.
func openExternal(ctx context.Context, conf config.ExternalEtcd, c clock.Clock, name string, log *slog.Logger) (*backend, error) {
	tlsConf, password, err := etcdCredentials(conf)
	if err != nil {
		return nil, fmt.Errorf("store.external: %w", err)
	}
	e, err := etcdstore.Connect(ctx, etcdstore.ExternalConfig{Endpoints: conf.Endpoints, TLS: tlsConf, Username: conf.Username, Password: password,
		Namespace: conf.Namespace, Log: log})
	if err != nil {
		return nil, fmt.Errorf("opening the store: %w", err)
	}
	elector := etcdleader.New(etcdleader.Config{Client: e.Client(), Prefix: electionPrefix, Name: name, Clock: c, Log: log})
	// One that is shared with others is compacted and defragmented by whoever runs it.
	database := etcdstore.NewDatabase(e.Client(), 0, conf.Namespace != "")
	return &backend{store: e.Store(), elector: elector, external: true, database: database, close: e.Close}, nil
}

// etcdCredentials reads the files that the configuration names; the configuration is nil for http.
func etcdCredentials(conf config.ExternalEtcd) (*tls.Config, string, error) {
	password := ""
	if conf.PasswordFile != "" {
		data, err := os.ReadFile(conf.PasswordFile)
		if err != nil {
			return nil, "", fmt.Errorf("password_file: %w", err)
		}
		password, _, _ = strings.Cut(string(data), "\n")
	}
	if !strings.HasPrefix(conf.Endpoints[0], "https://") {
		return nil, password, nil
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if conf.CA != "" {
		pem, err := os.ReadFile(conf.CA)
		if err != nil {
			return nil, "", fmt.Errorf("ca: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, "", fmt.Errorf("ca: %s holds no PEM certificate", conf.CA)
		}
	}
	if conf.Cert != "" {
		// Read again for every handshake, so that a renewed pair needs no restart.
		t.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			pair, err := tls.LoadX509KeyPair(conf.Cert, conf.Key)
			if err != nil {
				return nil, fmt.Errorf("store.external.cert: %w", err)
			}
			return &pair, nil
		}
		if _, err := t.GetClientCertificate(nil); err != nil {
			return nil, "", err
		}
	}
	return t, password, nil
}

// storeLook is the time between two looks whether an external store is there.
const storeLook = time.Second

// lookForStore notes, while nobody leads, whether the store can be reached, so that callers hear of it. The function that it returns ends that.
func (s *Server) lookForStore(ctx context.Context, be *backend) (end func()) {
	if !be.external {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var looking sync.WaitGroup
	looking.Go(func() {
		for ctx.Err() == nil {
			_, _, err := be.store.Get(ctx, electionPrefix)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				s.control.away.Store(&err)
			} else {
				s.control.away.Store(nil)
			}
			again := make(chan struct{})
			stop := s.clock.AfterFunc(storeLook, func() { close(again) })
			select {
			case <-again:
			case <-ctx.Done():
			}
			stop()
		}
	})
	return func() {
		cancel()
		looking.Wait()
	}
}
