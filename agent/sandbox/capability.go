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
