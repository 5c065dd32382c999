package session

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/slipway-ci/slipway/internal/rpcerr"
	"github.com/slipway-ci/slipway/internal/tlsutil"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

// ErrNotJoined: there is no usable certificate and no token to get one with.
var ErrNotJoined = errors.New("session: the agent has not joined")

// Files of an identity directory, all mode 0600. Key and chain are one file, so that they are replaced together.
const (
	pairFile = "agent.pem"
	caFile   = "ca.pem"
)

// Credentials are the agent's certificate and the CA that it trusts. Safe for concurrent use.
type Credentials struct {
	dir   string
	caPEM []byte
	id    tlsutil.AgentIdentity

	mu   sync.Mutex
	pair *tls.Certificate
}

// JoinConfig says how an agent gets its first certificate.
type JoinConfig struct {
	// Address of the coordinator, host:port.
	Address string
	// Dir keeps the identity; made with mode 0700.
	Dir string
	// Token of `slipway agents join-token`; needed only while there is no valid certificate.
	Token string
	// CA is the coordinator's CA, PEM; if empty the pin in Token recognises it.
	CA       []byte
	Hostname string
	Now      func() time.Time
}

// LoadOrJoin returns the identity that Dir keeps if its certificate is still valid, else joins with Token. Errors wrap
// ErrNotJoined if there is neither.
func LoadOrJoin(ctx context.Context, cfg JoinConfig) (*Credentials, error) {
	c, err := load(cfg.Dir)
	switch {
	case err == nil && cfg.Now().Before(c.pair.Leaf.NotAfter):
		return c, nil
	case err == nil:
		err = fmt.Errorf("the certificate expired at %s", c.pair.Leaf.NotAfter.UTC().Format(time.RFC3339))
	case errors.Is(err, fs.ErrNotExist):
		err = fmt.Errorf("%s holds no certificate", cfg.Dir)
	}
	if cfg.Token == "" {
		return nil, fmt.Errorf("%w: %w; make a token with `slipway agents join-token` and start the agent with it", ErrNotJoined, err)
	}
	return join(ctx, cfg)
}

func load(dir string) (*Credentials, error) {
	pairPEM, err := os.ReadFile(filepath.Join(dir, pairFile))
	if err != nil {
		return nil, err
	}
	ca, err := os.ReadFile(filepath.Join(dir, caFile))
	if err != nil {
		return nil, err
	}
	return newCredentials(dir, ca, pairPEM)
}

func newCredentials(dir string, ca, pairPEM []byte) (*Credentials, error) {
	pair, err := tlsutil.KeyPair(pairPEM, pairPEM)
	if err != nil {
		return nil, fmt.Errorf("session: %s: %w", filepath.Join(dir, pairFile), err)
	}
	id, err := tlsutil.ParseAgentIdentity(pair.Leaf)
	if err != nil {
		return nil, fmt.Errorf("session: %w", err)
	}
	return &Credentials{dir: dir, caPEM: ca, id: id, pair: pair}, nil
}

func join(ctx context.Context, cfg JoinConfig) (*Credentials, error) {
	conf, err := joinTLS(cfg)
	if err != nil {
		return nil, err
	}
	conn, err := grpc.NewClient(cfg.Address, grpc.WithTransportCredentials(credentials.NewTLS(conf)))
	if err != nil {
		return nil, fmt.Errorf("session: join %s: %w", cfg.Address, err)
	}
	defer func() { _ = conn.Close() }()
	keyPEM, csrPEM, err := tlsutil.NewKeyAndCSR(cfg.Hostname)
	if err != nil {
		return nil, fmt.Errorf("session: %w", err)
	}
	// Wait for the coordinator: `slipway dev` starts both at once.
	r, err := fleetv1.NewJoinServiceClient(conn).Join(ctx, &fleetv1.JoinRequest{Token: cfg.Token, Csr: csrPEM, Hostname: cfg.Hostname}, grpc.WaitForReady(true))
	if err != nil {
		return nil, fmt.Errorf("session: join %s: %s: %w", cfg.Address, rpcerr.Message(err), err)
	}
	c, err := newCredentials(cfg.Dir, r.GetCa(), append(r.GetCertificate(), keyPEM...))
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("session: %w", err)
	}
	if err := writeAtomic(filepath.Join(cfg.Dir, caFile), r.GetCa()); err != nil {
		return nil, err
	}
	return c, writeAtomic(filepath.Join(cfg.Dir, pairFile), append(r.GetCertificate(), keyPEM...))
}

func joinTLS(cfg JoinConfig) (*tls.Config, error) {
	if len(cfg.CA) > 0 {
		return tlsutil.ClientTLS(cfg.CA, nil)
	}
	pin, ok := tlsutil.TokenPin(cfg.Token)
	if !ok {
		return nil, fmt.Errorf("%w: the join token is not one that `slipway agents join-token` made", ErrNotJoined)
	}
	return tlsutil.PinnedTLS(cfg.Address, pin, nil), nil
}

// writeAtomic replaces a file of mode 0600, durably, or leaves it as it is.
func writeAtomic(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("session: keep the identity: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("session: keep the identity: %w", err)
	}
	return nil
}

// Identity is what the certificate says of the agent.
func (c *Credentials) Identity() tlsutil.AgentIdentity { return c.id }

// Certificate returns the newest certificate, for every handshake anew.
func (c *Credentials) Certificate() (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pair, nil
}

// TLS is the configuration of connections to the coordinator.
func (c *Credentials) TLS() (*tls.Config, error) { return tlsutil.ClientTLS(c.caPEM, c.Certificate) }

// RenewIn returns how long after now the certificate should be renewed: when two thirds of its life are over.
func (c *Credentials) RenewIn(now time.Time) time.Duration {
	c.mu.Lock()
	leaf := c.pair.Leaf
	c.mu.Unlock()
	life := leaf.NotAfter.Sub(leaf.NotBefore)
	return max(0, leaf.NotAfter.Add(-life/3).Sub(now))
}

// Renew gets a certificate for a fresh key and keeps it.
func (c *Credentials) Renew(ctx context.Context, client fleetv1.FleetServiceClient) error {
	keyPEM, csrPEM, err := tlsutil.NewKeyAndCSR(c.id.ID)
	if err != nil {
		return fmt.Errorf("session: %w", err)
	}
	r, err := client.Renew(ctx, &fleetv1.RenewRequest{Csr: csrPEM})
	if err != nil {
		return fmt.Errorf("session: renew the certificate: %w", err)
	}
	pairPEM := append(r.GetCertificate(), keyPEM...)
	next, err := newCredentials(c.dir, c.caPEM, pairPEM)
	if err != nil {
		return err
	}
	if next.id.ID != c.id.ID {
		return fmt.Errorf("session: the coordinator renewed agent %s's certificate for another agent, %s", c.id.ID, next.id.ID)
	}
	if err := writeAtomic(filepath.Join(c.dir, pairFile), pairPEM); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pair = next.pair
	return nil
}
