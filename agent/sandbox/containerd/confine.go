package containerd

import (
	profile "github.com/containerd/containerd/v2/contrib/seccomp"
	specs "github.com/opencontainers/runtime-spec/specs-go"

	"github.com/slipway-ci/slipway/agent/sandbox/seccomp"
)

// runc has libseccomp compile the same profile again for each container, which is a quarter of what a container costs. So the agent compiles it
// once, and the supervisor of a job's container installs it on itself before it starts anything: it is the only program in there until then. What
// has no supervisor (services), another runtime or a user namespace gets its filter from the runtime.

// compileFilter returns nil if the runtime is to do it.
func (s *Sandbox) compileFilter() []byte {
	program, err := seccomp.Compile(profile.DefaultProfile(&specs.Spec{
		Process: &specs.Process{Capabilities: &specs.LinuxCapabilities{Bounding: capabilities}},
	}))
	if err != nil {
		s.cfg.Log.Debug("the runtime makes the seccomp filter of each container", "err", err)
		return nil
	}
	return program
}
