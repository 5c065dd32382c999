package cluster

// CoordinatorMetrics is the address of the coordinator's /metrics and /healthz, host:port.
func (c *Cluster) CoordinatorMetrics() string { return c.ports[1] }

// AgentMetrics is the address of the agent's /metrics and /healthz, host:port.
func (c *Cluster) AgentMetrics() string { return c.ports[2] }
