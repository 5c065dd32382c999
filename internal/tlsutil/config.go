package tlsutil

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
)

// CertFunc returns the certificate to show now. It is called for every handshake, so a rotated one is used at once.
type CertFunc func() (*tls.Certificate, error)

// ClientTLS returns a TLS 1.3 client configuration that trusts only caPEM. cert is nil for users and joining agents,
// who show no certificate.
func ClientTLS(caPEM []byte, cert CertFunc) (*tls.Config, error) {
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(caPEM) {
		return nil, errors.New("the coordinator's CA file holds no PEM certificate")
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: pool}
	setClientCert(conf, cert)
	return conf, nil
}

func setClientCert(conf *tls.Config, cert CertFunc) {
	if cert == nil {
		return
	}
	conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert() }
}

// PinnedTLS returns a TLS 1.3 client configuration for the coordinator at address (host or host:port) that trusts the CA whose
// PinOf is pin, as the server presents it: Slipway's coordinator sends its CA after its leaf. For callers who have a token and no
// CA file.
func PinnedTLS(address, pin string, cert CertFunc) *tls.Config {
	host := address
	if h, _, err := net.SplitHostPort(address); err == nil {
		host = h
	}
	conf := &tls.Config{
		MinVersion: tls.VersionTLS13,
		ServerName: host,
		// The verification below replaces the default one, which would want the CA beforehand; it is as strict.
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection does chain, name and expiry against the pinned CA
		VerifyConnection:   func(cs tls.ConnectionState) error { return verifyPinned(cs, host, pin) },
	}
	setClientCert(conf, cert)
	return conf
}

// verifyPinned takes the host from the caller because a ConnectionState has no name where the host is an IP address.
func verifyPinned(cs tls.ConnectionState, host, pin string) error {
	if host == "" {
		return errors.New("no host name to verify the coordinator's certificate against")
	}
	if len(cs.PeerCertificates) == 0 {
		return errors.New("the coordinator shows no certificate")
	}
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	found := false
	for _, c := range cs.PeerCertificates[1:] {
		if PinOf(c) == pin {
			roots.AddCert(c)
			found = true
		} else {
			intermediates.AddCert(c)
		}
	}
	if !found {
		return fmt.Errorf("the coordinator at %s is not the one that made this token: its CA has another key; check the address, or ask for a new token", host)
	}
	_, err := cs.PeerCertificates[0].Verify(x509.VerifyOptions{
		DNSName: host, Roots: roots, Intermediates: intermediates, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
	if err != nil {
		return fmt.Errorf("verifying the coordinator's certificate: %w", err)
	}
	return nil
}

// ServerTLS returns a TLS 1.3 server configuration. Clients may show a certificate; one that they show must be of clientCAs
// and valid. Which method demands one is for the server's interceptors to say.
func ServerTLS(cert CertFunc, clientCAs *x509.CertPool) *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS13,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert() },
		ClientAuth:     tls.VerifyClientCertIfGiven,
		ClientCAs:      clientCAs,
		// A resumed session would keep the identity of a certificate that has expired meanwhile.
		SessionTicketsDisabled: true,
	}
}
