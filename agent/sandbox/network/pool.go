package network

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"github.com/vishvananda/netlink"
)

// retryPause follows a failed preparation; the pod that needs a namespace meanwhile gets the error at once.
const retryPause = 5 * time.Second

func (n *Network) kick() {
	select {
	case n.want <- struct{}{}:
	default:
	}
}

// fill keeps the pool full.
func (n *Network) fill(ctx context.Context) {
	defer n.done.Done()
	for {
		for len(n.idle) < cap(n.idle) && ctx.Err() == nil {
			ns, err := n.make(ctx)
			if err != nil {
				if ctx.Err() != nil {
					return
				}
				n.log.Warn("preparing a network namespace", "err", err)
				select {
				case <-ctx.Done():
				case <-time.After(retryPause):
				}
				continue
			}
			n.idle <- ns // only this goroutine sends
		}
		select {
		case <-ctx.Done():
			return
		case <-n.want:
		}
	}
}

// make prepares a namespace with egress.
func (n *Network) make(ctx context.Context) (Namespace, error) {
	if err := n.setupOnce(); err != nil {
		return Namespace{}, err
	}
	name := newName(prefixEgress)
	ns := Namespace{Name: name, Path: n.path(name)}
	if err := create(ns.Path); err != nil {
		return Namespace{}, err
	}
	if err := n.attach(name); err != nil {
		// The caller's context may be what failed.
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), attachPatience)
		defer cancel()
		return Namespace{}, errors.Join(err, n.Release(clean, name))
	}
	return ns, nil
}

// setupOnce sets up until that has succeeded once.
func (n *Network) setupOnce() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ready {
		return nil
	}
	err := n.setup()
	n.ready = err == nil
	return err
}

// setup makes the bridge and the rules before the first pod is on it.
func (n *Network) setup() error {
	ctx, cancel := context.WithTimeout(context.Background(), attachPatience)
	defer cancel()
	if _, err := netlink.LinkByName(n.cfg.Bridge); err != nil {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = n.cfg.Bridge
		// Given, or it would change with the ports that come and go, and pods would look for it at the old one.
		attrs.HardwareAddr = hardwareAddress()
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err != nil && !errors.Is(err, os.ErrExist) {
			return fmt.Errorf("making bridge %s: %w", n.cfg.Bridge, err)
		}
	}
	// Without it the host's link-local address would be a way around the packet filter.
	file := "/proc/sys/net/ipv6/conf/" + n.cfg.Bridge + "/disable_ipv6"
	if err := os.WriteFile(file, []byte("1"), 0o644); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("switching IPv6 off on %s: %w", n.cfg.Bridge, err)
	}
	link, err := netlink.LinkByName(n.cfg.Bridge)
	if err != nil {
		return fmt.Errorf("finding bridge %s: %w", n.cfg.Bridge, err)
	}
	if err := n.makeGateway(link); err != nil {
		return fmt.Errorf("making bridge %s the pods' gateway: %w", n.cfg.Bridge, err)
	}
	if err := n.rules().install(ctx); err != nil {
		return fmt.Errorf("packet filter rules: %w", err)
	}
	return nil
}

// hardwareAddress is a new one, locally administered and of one station (IEEE 802).
func hardwareAddress() net.HardwareAddr {
	a := make(net.HardwareAddr, 6)
	_, _ = rand.Read(a) // never fails (crypto/rand)
	a[0] = a[0]&^1 | 2
	return a
}

// makeGateway gives the bridge its address and lets the host forward.
func (n *Network) makeGateway(bridge netlink.Link) error {
	own := &net.IPNet{IP: n.addresses.gateway().AsSlice(), Mask: net.CIDRMask(n.addresses.subnet.Bits(), 32)}
	if err := netlink.AddrReplace(bridge, &netlink.Addr{IPNet: own}); err != nil {
		return fmt.Errorf("address %s: %w", own, err)
	}
	if err := netlink.LinkSetUp(bridge); err != nil {
		return fmt.Errorf("setting it up: %w", err)
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0o644); err != nil {
		return fmt.Errorf("switching forwarding on: %w", err)
	}
	return nil
}
