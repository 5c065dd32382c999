// Command slipway-supervisor is PID 1 of a job's container; see package supervisor.
package main

import (
	"context"
	"log/slog"
	"os"
	"path"

	"github.com/slipway-ci/slipway/agent/supervisor"
	"github.com/slipway-ci/slipway/agent/supervisor/proto"
)

func main() {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	socket := path.Join(proto.SocketDir, proto.SocketName)
	if err := supervisor.Run(context.Background(), supervisor.Config{Socket: socket, Log: log}); err != nil {
		log.Error("supervisor", "err", err)
		os.Exit(1)
	}
}
