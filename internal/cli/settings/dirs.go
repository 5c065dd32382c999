// Package settings holds what the CLI knows before it is told anything: the XDG directories, and the context file with
// the coordinators' addresses and tokens.
package settings

import (
	"path/filepath"
	"strconv"
)

// Dirs are Slipway's directories after the XDG Base Directory Specification. None need exist.
type Dirs struct {
	// Data outlives everything: the CA, etcd, blobs.
	Data string
	// State is what may be lost with little harm: logs of the processes.
	State string
	// Runtime ends with the machine: sockets and pid files.
	Runtime string
	// Config is the user's own.
	Config string
}

// DirsFrom reads the environment. home and uid are the user's.
func DirsFrom(getenv func(string) string, home string, uid int) Dirs {
	pick := func(variable string, fallback ...string) string {
		// The specification says to ignore relative paths.
		if v := getenv(variable); filepath.IsAbs(v) {
			return filepath.Join(v, "slipway")
		}
		return filepath.Join(append(fallback, "slipway")...)
	}
	runtime := []string{"/run"}
	if uid != 0 {
		runtime = []string{"/tmp", "slipway-" + strconv.Itoa(uid)}
	}
	return Dirs{
		Data:    pick("XDG_DATA_HOME", home, ".local", "share"),
		State:   pick("XDG_STATE_HOME", home, ".local", "state"),
		Runtime: pick("XDG_RUNTIME_DIR", runtime...),
		Config:  pick("XDG_CONFIG_HOME", home, ".config"),
	}
}
