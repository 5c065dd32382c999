// Package network gives pods their network namespaces: pinned by a bind mount, so that they outlive the agent, and
// prepared ahead, because a bridged one takes tens of milliseconds.
//
// A pod that may reach out gets an address on a bridge of ours and masquerade to wherever
// the host can reach. It reaches neither other pods (isolated bridge ports, and no routing from the bridge to itself), nor
// 169.254.0.0/16, where clouds keep their metadata, nor anything that listens on the host; only the host's nameservers,
// wherever they are, are reachable on port 53. IPv6 is off except on loopback. A pod without egress has loopback only.
package network
