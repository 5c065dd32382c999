// Command slipway-supervisor is PID 1 of a job's container; see package supervisor. Without containers it is an ordinary
// process, and its argument is the directory in which the agent's socket appears.
package main

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path"
	"strings"

	"github.com/slipway-ci/slipway/agent/supervisor"
	"github.com/slipway-ci/slipway/agent/supervisor/proto"
)

func main() {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	socket := path.Join(proto.SocketDir, proto.SocketName)
	if len(os.Args) == 2 && os.Args[1] == proto.Hold {
		_, _ = io.Copy(io.Discard, os.Stdin)
		return
	}
	if len(os.Args) > 3 && os.Args[1] == proto.Become {
		log.Error("supervisor", "err", supervisor.Become(os.Args[2], os.Args[3:]))
		os.Exit(127)
	}
	if len(os.Args) > 1 {
		if err := os.Chdir(os.Args[1]); err != nil {
			log.Error("supervisor", "err", err)
			os.Exit(1)
		}
		unprotect(log)
		socket = proto.SocketName // a socket's path has at most 107 bytes (unix(7)); the directory may be deeper
	}
	if err := supervisor.Run(context.Background(), supervisor.Config{Socket: socket, Log: log}); err != nil {
		log.Error("supervisor", "err", err)
		os.Exit(1)
	}
}

// unprotect gives up what protects the agent from the OOM killer: it started this process, and steps are not to inherit it.
// Raising a score needs no privilege (proc(5), oom_score_adj).
func unprotect(log *slog.Logger) {
	const file = "/proc/self/oom_score_adj"
	score, err := os.ReadFile(file)
	if err == nil && strings.HasPrefix(string(score), "-") {
		err = os.WriteFile(file, []byte("0"), 0)
	}
	if err != nil {
		log.Warn("steps keep the agent's OOM score", "err", err)
	}
}
