package containerd

import (
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/agent/sandbox/cgroup"
)

// What a pod gets that asks for no limit: far more than a build needs, and less than what a host is brought down with. A fork bomb
// and a step that eats memory then end in their own pod, and are named there.
const (
	fewestPIDs = 4096
	pidsPerCPU = 512
	// memoryPart of the host's memory, in eighths.
	memoryPart = 7
)

// bounded fills in limits that a pod does not say.
func bounded(r sandbox.Resources) sandbox.Resources {
	if r.PIDs == 0 {
		r.PIDs = max(fewestPIDs, int64(runtime.NumCPU())*pidsPerCPU)
	}
	var info unix.Sysinfo_t
	if r.Memory == 0 && unix.Sysinfo(&info) == nil {
		r.Memory = int64(info.Totalram) * int64(info.Unit) / 8 * memoryPart
	}
	return r
}

// podLimits are those of the group above the pod's containers.
func podLimits(spec sandbox.PodSpec) cgroup.Limits {
	r := spec.Resources
	limits := cgroup.Limits{CPUMilli: r.CPUMilli, Memory: r.Memory}
	if r.PIDs > 0 {
		limits.PIDs = r.PIDs + ownProcesses*int64(1+len(spec.StepImages))
	}
	return limits
}
