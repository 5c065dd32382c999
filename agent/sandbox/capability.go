package sandbox

import "errors"

// ErrUnsupported: this kind of sandbox can't do what the pod asks for, such as services where there are no containers.
// Create says so before anything starts. Another pool of agents can.
var ErrUnsupported = errors.New("sandbox: not supported here")

// HostPaths is a capability of a Sandbox whose steps see the host's own file system: nothing is mounted. A Mount then
// only says what the job works on, and its steps are told the source's path.
type HostPaths interface {
	// ToolCache is the host's directory in which setup actions find tools; "" is none.
	ToolCache() string
}

// Pooled is a capability of a Sandbox that makes pods ahead of the jobs that may want them.
type Pooled interface {
	Pool() PoolStats
}

// PoolStats counts pods that were made ahead.
type PoolStats struct {
	// Ready wait for a job now.
	Ready int
	// Taken by a job so far; Missed are jobs that could have had one, and found none ready.
	Taken, Missed int64
}

// Isolation is how far a pod is kept from its host. The names are in configurations and in fleet/v1: never rename one.
type Isolation string

// The levels of isolation.
const (
	// IsolationDefault: namespaces, least privilege, limits.
	IsolationDefault Isolation = "default"
	// IsolationUntrusted: also a user namespace, so that root in the pod is nobody on the host.
	IsolationUntrusted Isolation = "untrusted"
)

// Able is a capability of a Sandbox that can say what it can do. One that can't say does IsolationDefault and no named runtime.
type Able interface {
	// Abilities are as found at start.
	Abilities() Abilities
}

// Abilities says by name why the host can't do something, in words for a person; "" is that it can.
type Abilities struct {
	Isolation map[Isolation]string
	Runtimes  map[string]string
}
