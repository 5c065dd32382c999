package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/vishvananda/netlink"
)

// attach gives a namespace its end of a cable to the bridge, an address and a route. It speaks netlink itself: starting the
// two CNI plugins that did it before took 40 ms, and as much to undo, of a job that takes 100.
func (n *Network) attach(name string) error {
	own, err := n.addresses.take(name)
	if err != nil {
		return err
	}
	pin, err := os.Open(n.path(name))
	if err != nil {
		return fmt.Errorf("attaching %s: %w", name, err)
	}
	defer pin.Close()
	if err := n.plugIn(portOf(name), int(pin.Fd())); err != nil {
		return fmt.Errorf("attaching %s to bridge %s: %w", name, n.cfg.Bridge, err)
	}
	if err := within(n.path(name), func() error { return address(own, n.addresses.gateway()) }); err != nil {
		return fmt.Errorf("addressing %s: %w", name, err)
	}
	n.forgetNeighbour(own.Addr())
	return n.awaitUp(portOf(name))
}

// upPatience is how long a new port, or a bridge with its first one, may take until it passes packets.
const upPatience = 5 * time.Second

// awaitUp waits until the kernel has noticed that the cable has two ends, which it does in a work queue: up to a second later
// for the first port of a bridge. What is sent before is lost, and sent again only after a second.
func (n *Network) awaitUp(port string) error {
	for began, pause := time.Now(), time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		up := true
		for _, name := range []string{port, n.cfg.Bridge} {
			link, err := netlink.LinkByName(name)
			if err != nil {
				return fmt.Errorf("waiting for %s: %w", name, err)
			}
			state := link.Attrs().OperState
			up = up && (state == netlink.OperUp || state == netlink.OperUnknown) // a bridge that was never down says nothing
		}
		if up {
			return nil
		}
		if time.Since(began) > upPatience {
			return fmt.Errorf("port %s of bridge %s does not come up within %s", port, n.cfg.Bridge, upPatience)
		}
		<-time.After(pause)
	}
}

// portOf names the bridge's end of a namespace's cable, within the kernel's 15 bytes.
func portOf(name string) string { return "slw" + name[len(prefixEgress):][:12] }

// plugIn makes the cable. Its port is isolated from all others before it is up.
func (n *Network) plugIn(port string, namespace int) error {
	bridge, err := netlink.LinkByName(n.cfg.Bridge)
	if err != nil {
		n.mu.Lock()
		n.ready = false // somebody took it away: the next try makes it again
		n.mu.Unlock()
		return fmt.Errorf("finding it: %w", err)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.MasterIndex = port, n.mtu, bridge.Attrs().Index
	cable := &netlink.Veth{LinkAttrs: attrs, PeerName: interfaceName, PeerNamespace: netlink.NsFd(namespace)}
	if err := netlink.LinkAdd(cable); err != nil {
		return fmt.Errorf("making port %s: %w", port, err)
	}
	if err := netlink.LinkSetIsolated(cable, true); err != nil {
		return fmt.Errorf("isolating port %s: %w", port, err)
	}
	if err := netlink.LinkSetUp(cable); err != nil {
		return fmt.Errorf("setting port %s up: %w", port, err)
	}
	return nil
}

// address sets up the end of the cable in the calling thread's namespace.
func address(own netip.Prefix, gateway netip.Addr) error {
	link, err := netlink.LinkByName(interfaceName)
	if err != nil {
		return fmt.Errorf("finding %s: %w", interfaceName, err)
	}
	ip := &net.IPNet{IP: own.Addr().AsSlice(), Mask: net.CIDRMask(own.Bits(), 32)}
	if err := netlink.AddrAdd(link, &netlink.Addr{IPNet: ip}); err != nil {
		return fmt.Errorf("address %s: %w", own, err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("setting %s up: %w", interfaceName, err)
	}
	if err := netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: gateway.AsSlice()}); err != nil {
		return fmt.Errorf("default route: %w", err)
	}
	return nil
}

// forgetNeighbour drops where the host thinks that an address is: it had another owner.
func (n *Network) forgetNeighbour(ip netip.Addr) {
	if bridge, err := netlink.LinkByName(n.cfg.Bridge); err == nil {
		// Mostly there is nothing to forget.
		_ = netlink.NeighDel(&netlink.Neigh{LinkIndex: bridge.Attrs().Index, IP: ip.AsSlice()})
	}
}

// detach pulls a namespace's cable, whoever made it, and gives its address back. Idempotent.
func (n *Network) detach(name string) error {
	if path := n.path(name); pinned(path) { // after a reboot only the address is left to give back
		err := within(path, func() error {
			link, err := netlink.LinkByName(interfaceName)
			if missing := (netlink.LinkNotFoundError{}); errors.As(err, &missing) {
				return nil
			}
			if err != nil {
				return err
			}
			return netlink.LinkDel(link)
		})
		if err != nil {
			return fmt.Errorf("detaching %s: %w", name, err)
		}
	}
	return n.addresses.release(name)
}
