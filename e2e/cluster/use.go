package cluster

import "context"

// Use goes on with another build of slipway: coordinator and agent are replaced by it, as an upgrade does; jobs that run live on.
func (c *Cluster) Use(ctx context.Context, bin string) error {
	c.bin = bin
	return c.Up(ctx)
}

// Bin is the binary in use.
func (c *Cluster) Bin() string { return c.bin }
