// Command slipway-supervisor is PID 1 of a job's container; see package supervisor. Without containers it is an ordinary
// process, and its argument is the directory in which the agent's socket appears.
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
	if len(os.Args) > 1 {
		if err := os.Chdir(os.Args[1]); err != nil {
			log.Error("supervisor", "err", err)
			os.Exit(1)
		}
		socket = proto.SocketName // a socket's path has at most 107 bytes (unix(7)); the directory may be deeper
	}
	if err := supervisor.Run(context.Background(), supervisor.Config{Socket: socket, Log: log}); err != nil {
		log.Error("supervisor", "err", err)
		os.Exit(1)
	}
}
