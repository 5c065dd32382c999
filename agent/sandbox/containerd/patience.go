package containerd

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"
)

// daemonPatience is how long a call waits for a containerd that restarts; daemonPause is between two tries. Containers live
// on in their shims meanwhile, so a restart need not fail what is about them. firstPatience is for an agent that starts: its
// configuration may be wrong.
const (
	daemonPatience = 30 * time.Second
	daemonPause    = 100 * time.Millisecond
	firstPatience  = 5 * time.Second
)

// patience are the options of a connection that outlives a restart of containerd.
func patience() []grpc.DialOption {
	soon := backoff.Config{BaseDelay: daemonPause, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second}
	return []grpc.DialOption{grpc.WithChainUnaryInterceptor(patient), grpc.WithChainStreamInterceptor(patientStream),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: soon, MinConnectTimeout: firstPatience})}
}

// repeatable are the calls that may be made again when it is not known whether containerd has done them. Deleting and killing
// twice says that nothing was there, which their callers take for success; so does createTask for a task that exists.
var repeatable = map[string]bool{
	"/containerd.services.tasks.v1.Tasks/Get": true, "/containerd.services.tasks.v1.Tasks/List": true, "/containerd.services.tasks.v1.Tasks/Wait": true,
	"/containerd.services.tasks.v1.Tasks/Kill": true, "/containerd.services.tasks.v1.Tasks/Delete": true,
	"/containerd.services.tasks.v1.Tasks/DeleteProcess": true, "/containerd.services.tasks.v1.Tasks/Create": true,
	"/containerd.services.containers.v1.Containers/Get": true, "/containerd.services.containers.v1.Containers/List": true,
	"/containerd.services.containers.v1.Containers/Delete": true,
	"/containerd.services.snapshots.v1.Snapshots/Stat":     true, "/containerd.services.snapshots.v1.Snapshots/Mounts": true,
	"/containerd.services.snapshots.v1.Snapshots/Remove": true,
	"/containerd.services.images.v1.Images/Get":          true, "/containerd.services.images.v1.Images/List": true,
	"/containerd.services.content.v1.Content/Info": true, "/containerd.services.leases.v1.Leases/List": true,
	"/containerd.services.leases.v1.Leases/Delete": true, "/containerd.services.version.v1.Version/Version": true,
}

// patient waits for containerd before a call, and makes one that failed with it again, if that can do no harm.
func patient(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	for began := time.Now(); ; {
		awaitDaemon(ctx, cc)
		err := invoke(ctx, method, req, reply, cc, opts...)
		if status.Code(err) != codes.Unavailable || !repeatable[method] || time.Since(began) > daemonPatience {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(daemonPause):
		}
	}
}

// patientStream waits for containerd before a stream is opened.
func patientStream(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	awaitDaemon(ctx, cc)
	return open(ctx, desc, cc, method, opts...)
}

// awaitDaemon returns once the connection is there, or cannot be had in time: then the call says why.
func awaitDaemon(ctx context.Context, cc *grpc.ClientConn) {
	ctx, cancel := context.WithTimeout(ctx, daemonPatience)
	defer cancel()
	for {
		state := cc.GetState()
		if state == connectivity.Ready || state == connectivity.Shutdown {
			return
		}
		cc.Connect()
		if !cc.WaitForStateChange(ctx, state) {
			return
		}
	}
}
