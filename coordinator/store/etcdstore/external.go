package etcdstore

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/namespace"
	"go.uber.org/zap"
)

// ExternalConfig says how to reach an etcd that others run, and which part of its keys is ours.
type ExternalConfig struct {
	// Endpoints as https://HOST:PORT, or http:// without TLS; at least one.
	Endpoints []string
	// TLS is nil for http.
	TLS *tls.Config
	// Username and Password if etcd asks for them; "" if it does not.
	Username, Password string
	// Namespace is put in front of every key; "" is none. Several Slipways can share one etcd.
	Namespace string
	Log       *slog.Logger
}

const (
	dialTimeout = 5 * time.Second
	// keepAlive finds a member that went away without a word.
	keepAlive = 5 * time.Second
	// readPatience is how long a read may take before etcd counts as away.
	readPatience = 5 * time.Second
)

// External is a connection to an etcd of others.
type External struct{ client *clientv3.Client }

// Connect connects, and waits until one endpoint answers or ctx ends: what is wrong with addresses, certificates or the user is seen then.
func Connect(ctx context.Context, c ExternalConfig) (*External, error) {
	if len(c.Endpoints) == 0 {
		return nil, errors.New("external etcd: no endpoints")
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: c.Endpoints, TLS: c.TLS, Username: c.Username, Password: c.Password, DialTimeout: dialTimeout,
		DialKeepAliveTime: keepAlive, DialKeepAliveTimeout: keepAlive, Context: context.WithoutCancel(ctx), Logger: zap.New(slogCore{log: c.Log.With("component", "etcd-client")})})
	if err != nil {
		return nil, fmt.Errorf("external etcd %v: %w", c.Endpoints, err)
	}
	if c.Namespace != "" {
		client.KV = namespace.NewKV(client.KV, c.Namespace)
		client.Watcher = namespace.NewWatcher(client.Watcher, c.Namespace)
		client.Lease = namespace.NewLease(client.Lease, c.Namespace)
	}
	if _, err := client.Get(ctx, "/slipway/v1/", clientv3.WithLimit(1), clientv3.WithPrefix(), clientv3.WithKeysOnly()); err != nil {
		return nil, errors.Join(fmt.Errorf("external etcd %v does not answer: %w", c.Endpoints, err), client.Close())
	}
	return &External{client: client}, nil
}

// Store is on this connection, and usable until Close.
func (e *External) Store() *Store { return &Store{kv: e.client, patience: readPatience} }

// Client is for watches and elections; its keys are below the namespace, too.
func (e *External) Client() *clientv3.Client { return e.client }

// Close ends the connection.
func (e *External) Close() error { return e.client.Close() }
