package etcdstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// ErrNotRunning: no process serves the directory of an embedded etcd.
var ErrNotRunning = errors.New("etcdstore: nobody serves this directory")

// Dial connects to the embedded etcd of another process on this host, by its directory. ErrNotRunning if there is none. Close the client.
func Dial(ctx context.Context, dir string) (*clientv3.Client, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("embedded etcd: %w", err)
	}
	socket := filepath.Join(abs, "etcd.sock")
	if _, err := os.Stat(socket); errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNotRunning
	}
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotRunning, err)
	}
	_ = conn.Close()
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{"unix://" + socket}, Logger: zap.NewNop(),
		DialOptions: []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(64 << 20))}})
	if err != nil {
		return nil, fmt.Errorf("embedded etcd's client: %w", err)
	}
	return client, nil
}
