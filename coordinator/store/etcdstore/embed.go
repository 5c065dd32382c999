package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3client"
	"go.etcd.io/etcd/server/v3/etcdserver/api/v3rpc"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/slipway-ci/slipway/coordinator/store"
)

// maxSocketPath is what sun_path holds on Linux, less its final zero.
const maxSocketPath = 107

// EmbedConfig says where and how the embedded etcd runs.
type EmbedConfig struct {
	// Dir holds the data; created with mode 0700. Only one process can have it open.
	Dir string
	// Socket is the path of the unix socket for watches and elections, in a directory of mode 0700; "" is Dir/etcd.sock. At most 107 bytes.
	Socket string
	// Quota bounds the database in bytes; 0 is 4 GiB.
	Quota int64
	// Retention of old revisions; 0 is 5 minutes. Compaction runs by itself.
	Retention time.Duration
	Log       *slog.Logger
}

// Embedded is an etcd in this process: one member, no TCP port, and a unix socket that only this user can reach.
type Embedded struct {
	etcd      *embed.Etcd
	inProcess *clientv3.Client
	remote    *clientv3.Client
	quota     int64
}

// Start starts the embedded etcd and waits until it serves. ctx bounds the start only.
func Start(ctx context.Context, c EmbedConfig) (*Embedded, error) {
	cfg, socket, err := c.etcdConfig()
	if err != nil {
		return nil, err
	}
	server, err := embed.StartEtcd(cfg)
	if err != nil {
		return nil, fmt.Errorf("embedded etcd in %s: %w (is another coordinator using this directory?)", c.Dir, err)
	}
	select {
	case <-server.Server.ReadyNotify():
	case err := <-server.Err():
		server.Close()
		return nil, fmt.Errorf("embedded etcd in %s: %w", c.Dir, err)
	case <-ctx.Done():
		server.Close()
		return nil, fmt.Errorf("embedded etcd in %s did not become ready: %w", c.Dir, ctx.Err())
	}
	remote, err := clientv3.New(clientv3.Config{
		Endpoints:   []string{"unix://" + socket},
		DialOptions: []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())},
		Logger:      zap.NewNop(),
	})
	if err != nil {
		server.Close()
		return nil, fmt.Errorf("embedded etcd's client: %w", err)
	}
	return &Embedded{etcd: server, inProcess: v3client.New(server.Server), remote: remote, quota: cfg.QuotaBackendBytes}, nil
}

// Store returns a store that calls the server in process.
func (e *Embedded) Store() *Store {
	return &Store{kv: e.inProcess.KV, server: v3rpc.NewQuotaKVServer(e.etcd.Server)}
}

// Client returns a client over the unix socket, for watches and elections: in-process watches can deadlock (etcd #18879, #20716).
func (e *Embedded) Client() *clientv3.Client { return e.remote }

// Err returns the channel of the server's fatal errors; closed when it has stopped.
func (e *Embedded) Err() <-chan error { return e.etcd.Err() }

// Close stops the clients and the server and waits for it.
func (e *Embedded) Close() error {
	err := errors.Join(e.remote.Close(), e.inProcess.Close())
	e.etcd.Close()
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func (c EmbedConfig) etcdConfig() (*embed.Config, string, error) {
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return nil, "", fmt.Errorf("embedded etcd: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, "", fmt.Errorf("embedded etcd: %w", err)
	}
	socket := c.Socket
	if socket == "" {
		socket = filepath.Join(dir, "etcd.sock")
	}
	if len(socket) > maxSocketPath {
		return nil, "", fmt.Errorf("embedded etcd: the socket path %s has %d bytes, more than %d: choose a shorter one", socket, len(socket), maxSocketPath)
	}
	if err := os.MkdirAll(filepath.Dir(socket), 0o700); err != nil {
		return nil, "", fmt.Errorf("embedded etcd: %w", err)
	}
	cfg := embed.NewConfig()
	cfg.Name = "embedded"
	cfg.Dir = dir
	// One member talks to no peer: it advertises an address that it never listens on.
	nobody := url.URL{Scheme: "http", Host: "127.0.0.1:1"}
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = nil, []url.URL{nobody}
	unix := url.URL{Scheme: "unix", Path: socket}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{unix}, []url.URL{unix}
	cfg.InitialCluster = cfg.Name + "=" + nobody.String()
	cfg.EnableGRPCGateway = false
	cfg.TickMs, cfg.ElectionMs = 10, 100
	cfg.SnapshotCount, cfg.SnapshotCatchUpEntries = 500, 200
	cfg.MaxTxnOps = 1024
	// Each batch of a compaction ends with an fsync, and nothing is applied meanwhile: fewer and longer ones cost less in all.
	cfg.CompactionBatchLimit = 5000
	cfg.MaxRequestBytes = 2 * store.MaxTxnBytes
	cfg.QuotaBackendBytes = 4 << 30
	if c.Quota > 0 {
		cfg.QuotaBackendBytes = c.Quota
	}
	cfg.AutoCompactionMode, cfg.AutoCompactionRetention = embed.CompactorModePeriodic, "5m"
	if c.Retention > 0 {
		cfg.AutoCompactionRetention = c.Retention.String()
	}
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.New(slogCore{log: c.Log.With("component", "etcd")}))
	return cfg, socket, nil
}
