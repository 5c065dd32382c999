package containerd

import (
	"log/slog"
	"runtime"
	"testing"
)

// TestTheProfileCompiles: a newer containerd may have one that package seccomp can't do; every container would be slow again, and nobody would see why.
func TestTheProfileCompiles(t *testing.T) {
	s := &Sandbox{cfg: Config{Log: slog.New(slog.DiscardHandler)}}
	if program := s.compileFilter(); len(program) == 0 && runtime.GOARCH == "amd64" {
		t.Error("the runtime would have to compile the filter of each container")
	}
}
