package sandbox

import (
	"fmt"
	"time"
)

// ImageReason says why an image can't be had. Stable.
type ImageReason string

// The reasons of an ImageError.
const (
	// ImageNotFound: the registry does not have it, or the digest names nothing.
	ImageNotFound ImageReason = "not-found"
	// ImageUnauthorised: the registry wants other credentials.
	ImageUnauthorised ImageReason = "unauthorised"
	// ImageUnreachable: the registry does not answer, or breaks off; tried several times.
	ImageUnreachable ImageReason = "unreachable"
	// ImageDamaged: what the registry sent is not what the digest says.
	ImageDamaged ImageReason = "damaged"
	// ImageInvalid: the reference, or the image itself, can't be used.
	ImageInvalid ImageReason = "invalid"
	// ImageDiskFull: there is no room for it on this host.
	ImageDiskFull ImageReason = "disk-full"
	// ImageFailed: anything else.
	ImageFailed ImageReason = "failed"
)

// ImageError is an ErrImage with its reason.
type ImageError struct {
	Ref    string
	Reason ImageReason
	// Tries is how often it was tried.
	Tries int
	Err   error
}

func (e *ImageError) Error() string {
	text := fmt.Sprintf("image %s: %s", e.Ref, e.Reason.hint())
	if e.Tries > 1 {
		text += fmt.Sprintf(" (tried %d times)", e.Tries)
	}
	return fmt.Sprintf("%s: %v", text, e.Err)
}

// Unwrap makes it an ErrImage, too.
func (e *ImageError) Unwrap() []error { return []error{ErrImage, e.Err} }

// UserFault is whether the pipeline's author can mend it.
func (e *ImageError) UserFault() bool {
	return e.Reason == ImageNotFound || e.Reason == ImageInvalid
}

func (r ImageReason) hint() string {
	switch r {
	case ImageNotFound:
		return "the registry does not have it; check its name and digest"
	case ImageUnauthorised:
		return "the registry refuses it; check the credentials under `registries:` in the agent's configuration"
	case ImageUnreachable:
		return "the registry can't be reached from this agent"
	case ImageDamaged:
		return "what the registry sent is not what the digest says; the registry, or a proxy before it, is at fault"
	case ImageInvalid:
		return "it can't be used"
	case ImageDiskFull:
		return "the agent's disk is full"
	default:
		return "it could not be pulled"
	}
}

// ServiceReason says what is wrong with a service. Stable.
type ServiceReason string

// The reasons of a ServiceError.
const (
	// ServiceCannotStart: its command can't be run.
	ServiceCannotStart ServiceReason = "cannot-start"
	// ServiceDied: it ended before it was healthy.
	ServiceDied ServiceReason = "died"
	// ServiceUnhealthy: its health check failed as often as it may.
	ServiceUnhealthy ServiceReason = "unhealthy"
)

// ServiceError is an ErrUnhealthy with its reason. It is the user's fault: the service is what the pipeline asked for.
type ServiceError struct {
	Service string
	Reason  ServiceReason
	// Code is the exit code of ServiceDied.
	Code int
	// OOMKilled: the kernel killed a process of it for want of memory.
	OOMKilled bool
	Err       error
}

func (e *ServiceError) Error() string {
	if e.OOMKilled {
		return fmt.Sprintf("service %s: %v; the kernel killed a process of it for want of memory: give the job more (`resources: memory`)", e.Service, e.Err)
	}
	return fmt.Sprintf("service %s: %v", e.Service, e.Err)
}

// Unwrap makes it an ErrUnhealthy, too.
func (e *ServiceError) Unwrap() []error { return []error{ErrUnhealthy, e.Err} }

// LostReason says what ended a pod. Stable.
type LostReason string

// The reasons of a LostError.
const (
	// LostOutOfMemory: the kernel killed the supervisor for want of memory.
	LostOutOfMemory LostReason = "out-of-memory"
	// LostShim: the containerd shim ended, and the container with it.
	LostShim LostReason = "shim-gone"
	// LostKilled: something outside killed the container's init.
	LostKilled LostReason = "killed"
	// LostLease: the pod's lease ran out.
	LostLease LostReason = "lease-over"
)

// LostError is an ErrPodLost with its reason. It is our fault, except LostOutOfMemory.
type LostError struct {
	Pod    string
	Reason LostReason
	// OOMKills counts the processes of the pod that the kernel killed for want of memory.
	OOMKills int64
	// Image is that of the container, if it is not the job's.
	Image string
}

func (e *LostError) Error() string {
	text := "was killed from outside"
	switch e.Reason {
	case LostOutOfMemory:
		text = fmt.Sprintf("ended after the kernel had killed %d of its processes for want of memory; give the job more (`resources: memory`)", e.OOMKills)
	case LostShim:
		text = "ended because its containerd shim was killed or crashed"
	case LostLease:
		text = "was ended: nobody renewed its lease, so that another job may run in its place"
	case LostKilled:
	}
	which := "the job's container"
	if e.Image != "" {
		which = "the container of the step's image " + e.Image
	}
	return fmt.Sprintf("pod %s: %s %s", e.Pod, which, text)
}

// Unwrap makes it an ErrPodLost.
func (e *LostError) Unwrap() error { return ErrPodLost }

// StalledError is a transfer that came to a halt.
type StalledError struct{ After time.Duration }

func (e *StalledError) Error() string { return fmt.Sprintf("not a byte came for %s", e.After) }
