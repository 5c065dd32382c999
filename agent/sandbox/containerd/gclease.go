package containerd

import (
	"context"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/leases"
)

// uncollected keeps what containerd makes for a request from its garbage collector until done is called. The client makes a lease for that
// by itself, but makes it and gives it back with the request's own context: one that is cancelled leaves the lease, and what it
// holds, for a day.
func uncollected(ctx context.Context, client *containerd.Client) (leased context.Context, done func(), err error) {
	made, release, err := client.WithLease(context.WithoutCancel(ctx))
	if err != nil {
		return nil, nil, err
	}
	id, _ := leases.FromContext(made)
	return leases.WithLease(ctx, id), func() {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanPatience)
		defer cancel()
		_ = release(clean) // the next agent's start drops what is left
	}, nil
}
