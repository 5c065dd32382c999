package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"sync"

	"google.golang.org/grpc/credentials"
)

// handshake remembers why the last TLS handshake failed: gRPC tells it only as a text.
type handshake struct {
	mu   sync.Mutex
	last error
}

// watched are credentials whose handshakes are looked at.
type watched struct {
	credentials.TransportCredentials
	h *handshake
}

// ClientHandshake implements credentials.TransportCredentials.
func (w watched) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := w.TransportCredentials.ClientHandshake(ctx, authority, raw)
	w.h.mu.Lock()
	w.h.last = err
	w.h.mu.Unlock()
	return conn, info, err
}

// Clone implements credentials.TransportCredentials.
func (w watched) Clone() credentials.TransportCredentials {
	return watched{w.TransportCredentials.Clone(), w.h}
}

// distrust says why the coordinator is not trusted, and what to do; "" if the handshake is not what failed, or for no reason of trust.
func (h *handshake) distrust() string {
	h.mu.Lock()
	err := h.last
	h.mu.Unlock()
	var (
		unknown x509.UnknownAuthorityError
		names   x509.HostnameError
		expired x509.CertificateInvalidError
		plain   tls.RecordHeaderError
	)
	switch {
	case errors.As(err, &unknown):
		return "its certificate is not of the CA that is known here; name the coordinator's ca.pem with --ca or SLIPWAY_CA"
	case errors.As(err, &names):
		return names.Error() + "; call it by a name that its certificate has, or add this one to `hosts:` of its configuration"
	case errors.As(err, &expired):
		return expired.Error()
	case errors.As(err, &plain):
		return "it does not speak TLS, so it is no coordinator; check the address"
	}
	return ""
}
