// Package sandbox is where a job's steps run: the contract between the agent's runner and what isolates a job.
//
// A job is a pod: one network namespace, a workspace, service containers, and one long-lived job container whose PID 1
// is the supervisor; steps run through it.
//
//	Create ──► running ──► Start/Wait a step, one at a time ──► Remove
//	   ▲                        │
//	   └─ Attach (after the agent died; the pod and its step live on)
//
// Every implementation passes sandboxtest.Run.
package sandbox

import (
	"context"
	"errors"
	"time"
)

// Errors that implementations wrap, to be told apart with errors.Is.
var (
	// ErrNotFound: no such pod or step.
	ErrNotFound = errors.New("sandbox: not found")
	// ErrImage: the image can't be had. The user's fault if the registry says so, else ours.
	ErrImage = errors.New("sandbox: image unavailable")
	// ErrUnhealthy: a service did not become healthy, or died.
	ErrUnhealthy = errors.New("sandbox: service unhealthy")
	// ErrPodLost: the job's container ended under a running step (killed from outside, shim gone, out of memory).
	ErrPodLost = errors.New("sandbox: pod lost")
)

// Sandbox makes pods on one host. Safe for concurrent use.
type Sandbox interface {
	// Create pulls the images, starts the services, waits until they are healthy and starts the job container.
	// It returns once Start would work. On error nothing of the pod is left. Cancelling ctx aborts and cleans up.
	// progress, if not nil, is called with lines for a person ("pulling …", "postgres is healthy"); never concurrently.
	Create(ctx context.Context, spec PodSpec, progress func(line string)) (Pod, error)
	// Attach returns a pod that an earlier process created, whether or not its step still runs; ErrNotFound when
	// there is none. spec is not needed: what must be known of the pod is kept with it.
	Attach(ctx context.Context, id string) (Pod, error)
	// List returns the ids of every pod on this host that this sandbox owns, half-made ones too.
	List(ctx context.Context) ([]string, error)
	// Remove ends and deletes everything of a pod: processes, containers, snapshots, mounts, network namespace,
	// cgroups. Idempotent; nil when there is nothing. It verifies what it says.
	Remove(ctx context.Context, id string) error
	// Close lets go of connections; pods live on.
	Close() error
}

// Pod is one job's place. Methods are safe for concurrent use; one step runs at a time.
type Pod interface {
	ID() string
	// Start begins a step. Idempotent by spec.ID: a second Start of the same id does nothing, also after a restart
	// of the agent. It returns once the process runs or ended. A command that can't be executed is not an error
	// here but an Exit with code 126 or 127, as in a shell.
	Start(ctx context.Context, spec StepSpec) error
	// Wait blocks until the step has ended; it may be called again, and by a process that did not Start it. ctx
	// ends the waiting, not the step. ErrPodLost if the pod died under it.
	Wait(ctx context.Context, stepID string) (Exit, error)
	// Stop sends TERM to the step's whole process group, after grace KILL to all that is left of the step. It returns
	// once the step ended; nil if it had ended before.
	Stop(ctx context.Context, stepID string, grace time.Duration) error
	// Lease bounds how long the pod's steps may go on from now, with or without an agent; each call takes the place of the one
	// before. When it runs out, all that runs of the job gets TERM, after the grace KILL, and the pod is lost (LostLease) whatever
	// comes later. A pod that never had one has no bound. It does not block.
	Lease(left, grace time.Duration)
}

// PodSpec says what a job needs.
type PodSpec struct {
	// ID is the attempt's id: unique for ever, safe in file names.
	ID string
	// Image is a reference by digest, e.g. 127.0.0.1:5000/ubuntu@sha256:….
	Image string
	// Container: the job asks for this image itself (`container:`); else it is what its runner's label stands for.
	Container bool
	// Entry of the image is ignored: PID 1 is the supervisor. The image's ENV is kept, Env comes over it.
	Env []string
	// User in the container, as an image's USER; "" is the image's own.
	User   string
	Mounts []Mount
	// Labels for people: run, job. No secrets.
	Labels   map[string]string
	Services []Service
	// Auth is what the registry of Image is shown; nil is what the host has for it. It is kept nowhere.
	Auth *RegistryAuth `json:"-"`
	// StepImages are references by digest of images that single steps run in (StepSpec.Image), each once. A container for each shares
	// the pod's network, mounts, limits and isolation, and has its own root file system; Env and User are not for it. Create pulls
	// them; the containers may be made later, at the latest by the first Start that wants one. ErrUnsupported if the sandbox can't.
	StepImages []string
	Resources  Resources
	// Egress false leaves only loopback and the pod's services.
	Egress bool
	// Hosts are extra names for /etc/hosts (name → address).
	Hosts map[string]string
	// Isolation is how far the pod is kept from its host; "" is IsolationDefault. Runtime names what runs its containers; ""
	// is the host's own choice. Both come from the policy of the agent's pool. ErrUnsupported if the sandbox can't.
	Isolation Isolation
	Runtime   string
}

// RegistryAuth is a user of a registry.
type RegistryAuth struct{ Username, Password string }

// Mount binds a host path, or a volume, into a container.
type Mount struct {
	Source, Target string
	ReadOnly       bool
	// Volume, in place of Source, names a directory that the pod has as long as it lives: all mounts of that name in the pod share
	// it. A new one has what the image of the first container that mounts it has at Target, owners included.
	Volume string `json:",omitempty"`
	// Host: Source holds more than what this job wrote, and stays when it is gone.
	Host bool `json:",omitempty"`
}

// Resources limit the whole pod. Zero is no limit of the job's; a sandbox may have one to protect its host.
type Resources struct {
	// CPUMilli is thousandths of a core.
	CPUMilli int64
	// Memory in bytes.
	Memory int64
	// PIDs at once.
	PIDs int64
}

// Service is a side container in the pod's network namespace: reachable at localhost:port and at its name.
type Service struct {
	Name  string
	Image string
	// Command replaces the image's CMD when not empty.
	Command []string
	Env     []string
	// SecretEnv comes over Env, and into no record of the container.
	SecretEnv []string `json:"-"`
	// Auth is as in PodSpec.
	Auth   *RegistryAuth `json:"-"`
	Ports  []Port
	Health *Health
	// User as in `--user`.
	User   string
	Mounts []Mount
}

// Port publishes a service's port at localhost:Host; Host 0 means the same number.
type Port struct{ Host, Container int }

// Health is a probe in Docker's terms (`--health-cmd` and the image's HEALTHCHECK).
type Health struct {
	// Command runs in the service's container; one element is run by `/bin/sh -c`.
	Command                        []string
	Interval, Timeout, StartPeriod time.Duration
	Retries                        int
}

// StepSpec is one process to run in the job container.
type StepSpec struct {
	// ID is unique in the pod, safe in file names.
	ID   string
	Argv []string
	// Otherwise is run if there is no Argv[0] in PATH; empty for nothing.
	Otherwise []string
	// Env is the whole environment of the step, over the pod's.
	Env []string
	// Dir inside the container.
	Dir string
	// User as in PodSpec; "" is the pod's.
	User string
	// Image is one of the pod's StepImages: the step runs in that one's container, in its image's environment, user and directory. "" is the job's.
	Image string `json:",omitempty"`
	// Output is a path on the host; stdout and stderr are both appended to it in order. Created with mode 0600.
	Output string
	// Timeout after which the supervisor stops the step by itself, also while no agent runs; 0 is none. Grace is the time from TERM to KILL then.
	Timeout, Grace time.Duration
	// Resources limit this step, within the pod's; zero means no other limit.
	Resources Resources
}

// Exit says how a step's process ended.
type Exit struct {
	// Code is the exit code; 128+Signal when a signal ended it.
	Code   int
	Signal int
	// TimedOut: the supervisor stopped it at its Timeout.
	TimedOut bool
	// OOMKilled: the kernel killed a process of the step for want of memory.
	OOMKilled bool
	// Message explains a command that could not be executed.
	Message string
	// Duration from start to end.
	Duration time.Duration
	// NotStarted: the command did not run, for Cause; Code is 126 or 127.
	NotStarted bool
	Cause      Cause
	// Stopped: Stop ended it.
	Stopped bool
	// Killed: something of it outlived TERM and the grace.
	Killed bool
	// ForksRefused counts forks that failed because of a limit of processes.
	ForksRefused int64
	// Left counts the processes that the step left behind; they live until the pod is removed.
	Left int
	// Written is how many bytes the pod had written when it was ended because the host's disk was nearly full, and it had
	// written the most; 0 if it was not.
	Written int64
	// Disks are file systems that the step could not write to when it had failed.
	Disks []DiskFault
	// Services are those that were dead when the step ended.
	Services []ServiceEnd
}
