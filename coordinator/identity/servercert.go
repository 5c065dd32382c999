package identity

import (
	"crypto/tls"
	"sync"

	"github.com/slipway-ci/slipway/internal/clock"
	"github.com/slipway-ci/slipway/internal/tlsutil"
)

// ServerCert is the coordinator's own certificate, made in memory and made again when a third of its life is left.
type ServerCert struct {
	ca    *CA
	hosts []string
	clock clock.Clock

	mu   sync.Mutex
	cert *tls.Certificate
}

// NewServerCert returns a certificate for hosts: DNS names and IP addresses.
func NewServerCert(ca *CA, hosts []string, c clock.Clock) *ServerCert {
	return &ServerCert{ca: ca, hosts: hosts, clock: c}
}

// Get returns the certificate to show now. It is a tlsutil.CertFunc.
func (s *ServerCert) Get() (*tls.Certificate, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.clock.Now()
	if s.cert != nil && now.Before(s.cert.Leaf.NotAfter.Add(-serverLife/3)) && now.After(s.cert.Leaf.NotBefore) {
		return s.cert, nil
	}
	key, keyPEM, err := tlsutil.NewKey()
	if err != nil {
		return nil, err
	}
	chain, err := s.ca.signServer(&key.PublicKey, s.hosts, now)
	if err != nil {
		return nil, err
	}
	if s.cert, err = tlsutil.KeyPair(chain, keyPEM); err != nil {
		return nil, err
	}
	return s.cert, nil
}
