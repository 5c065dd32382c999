// Package client is the typed client of Slipway's API: gRPC over TLS 1.3 with a bearer token.
//
// Every mutating call makes its request id once and repeats the call with the same id while the coordinator is
// unavailable or busy, so a repeat returns the first result and nothing happens twice. Streams (Watch, Logs) open
// again after an outage and skip what they have already delivered.
package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/slipway-ci/slipway/internal/id"
	"github.com/slipway-ci/slipway/internal/tlsutil"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
)

// Defaults of Config.
const (
	// DefaultFirstPatience is how long the first call keeps trying before anything has answered.
	DefaultFirstPatience = 3 * time.Second
	// DefaultPatience is how long a call or a stream keeps trying once the coordinator has answered: a restart or a
	// failover fits into it.
	DefaultPatience = 2 * time.Minute
	// maxMessage bounds what one answer may hold; a run with hundreds of jobs is well under it.
	maxMessage = 64 << 20
)

// Config says where the coordinator is and how to prove who calls.
type Config struct {
	// Address is host:port of a coordinator.
	Address string
	// CA is the PEM bundle that signs the coordinator's certificate. Empty means the CA that the token pins, or the
	// system's roots if it pins none.
	CA []byte
	// ServerName overrides the name that the certificate must carry; empty means Address's host.
	ServerName string
	// Token is the user's bearer token.
	Token string
	// UserAgent is sent along; empty means slipway-client.
	UserAgent string
	// Traceparent is the W3C trace context (https://www.w3.org/TR/trace-context/) that runs are submitted under: their spans become
	// its children. "" begins a trace with each run.
	Traceparent string
	// FirstPatience and Patience bound retrying; zero means the defaults.
	FirstPatience, Patience time.Duration
	// NewID makes request ids; nil means ULIDs.
	NewID func() string
	// DialOptions are added last, e.g. a stats handler for traces.
	DialOptions []grpc.DialOption
}

// Client calls one coordinator. Safe for concurrent use.
type Client struct {
	conn          *grpc.ClientConn
	address       string
	newID         func() string
	firstPatience time.Duration
	patience      time.Duration
	traceparent   string
	handshake     *handshake
	// answered is set by the first answer of any kind: from then on an outage is a restart, not a wrong address.
	answered atomic.Bool

	runs      apiv1.RunServiceClient
	logs      apiv1.LogServiceClient
	blobs     apiv1.BlobServiceClient
	artifacts apiv1.ArtifactServiceClient
	agents    apiv1.AgentServiceClient
	tokens    apiv1.TokenServiceClient
	debug     apiv1.DebugServiceClient
	web       apiv1.WebServiceClient
	secrets   apiv1.SecretServiceClient
	variables apiv1.VariableServiceClient
}

// New prepares a client; it connects with the first call. Errors mean that the configuration is not usable.
func New(c Config) (*Client, error) {
	if c.Address == "" {
		return nil, errors.New("no coordinator's address is given; write it as host:port")
	}
	if _, _, err := net.SplitHostPort(c.Address); err != nil {
		return nil, fmt.Errorf("the coordinator's address %q has no port: write it as host:port, as in ci.example.org:7420", c.Address)
	}
	creds, err := transport(c)
	if err != nil {
		return nil, err
	}
	agent := c.UserAgent
	if agent == "" {
		agent = "slipway-client"
	}
	trust := &handshake{}
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(watched{creds, trust}),
		grpc.WithPerRPCCredentials(bearer(c.Token)),
		grpc.WithUserAgent(agent),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage), grpc.MaxCallSendMsgSize(maxMessage)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second},
			MinConnectTimeout: 5 * time.Second,
		}),
	}
	// passthrough: one address, no DNS service configuration to wait for.
	conn, err := grpc.NewClient("passthrough:///"+c.Address, append(options, c.DialOptions...)...)
	if err != nil {
		return nil, fmt.Errorf("the coordinator's address %q: %w", c.Address, err)
	}
	cl := &Client{
		conn: conn, address: c.Address, newID: c.NewID,
		firstPatience: orDefault(c.FirstPatience, DefaultFirstPatience),
		patience:      orDefault(c.Patience, DefaultPatience),
		traceparent:   c.Traceparent,
		handshake:     trust,
		runs:          apiv1.NewRunServiceClient(conn),
		logs:          apiv1.NewLogServiceClient(conn),
		blobs:         apiv1.NewBlobServiceClient(conn),
		artifacts:     apiv1.NewArtifactServiceClient(conn),
		agents:        apiv1.NewAgentServiceClient(conn),
		tokens:        apiv1.NewTokenServiceClient(conn),
		debug:         apiv1.NewDebugServiceClient(conn),
		web:           apiv1.NewWebServiceClient(conn),
		secrets:       apiv1.NewSecretServiceClient(conn),
		variables:     apiv1.NewVariableServiceClient(conn),
	}
	if cl.newID == nil {
		cl.newID = id.NewSource(time.Now).New
	}
	return cl, nil
}

// Close ends all calls and the connection.
func (c *Client) Close() error { return c.conn.Close() }

// Release is Close for a defer: an error of closing a connection that is no longer needed says nothing.
func (c *Client) Release() { _ = c.conn.Close() }

// Address is where the client calls.
func (c *Client) Address() string { return c.address }

// ReadCA reads a PEM bundle for Config.CA.
func ReadCA(path string) ([]byte, error) {
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("the coordinator's CA can't be read: %w", err)
	}
	return pem, nil
}

// transport trusts the CA that is configured; without one, the CA that the token names by its pin; else the system's.
func transport(c Config) (credentials.TransportCredentials, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS13}
	if len(c.CA) > 0 {
		var err error
		if conf, err = tlsutil.ClientTLS(c.CA, nil); err != nil {
			return nil, fmt.Errorf("the coordinator's CA is not usable: %w", err)
		}
	} else if pin, ok := tlsutil.TokenPin(c.Token); ok && pin != "" {
		conf = tlsutil.PinnedTLS(c.Address, pin, nil)
	}
	if c.ServerName != "" {
		conf.ServerName = c.ServerName
	}
	return credentials.NewTLS(conf), nil
}

// bearer sends the token with every call, and never without TLS.
type bearer string

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	if b == "" {
		return nil, nil
	}
	return map[string]string{"authorization": "Bearer " + string(b)}, nil
}

func (bearer) RequireTransportSecurity() bool { return true }

func orDefault(d, fallback time.Duration) time.Duration {
	if d <= 0 {
		return fallback
	}
	return d
}
