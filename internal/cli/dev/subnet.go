package dev

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/slipway-ci/slipway/internal/cli/agentconf"
)

// pieces is how many subnets a stack can choose from: 10.88.0.0/15 in parts with room for 2045 pods each.
const pieces = 64

// subnet chooses the network of a stack's pods: what an earlier start chose, else one that seed points to. A network
// that overlaps with one the host knows already (another stack's, a VPN's) is passed over.
func subnet(earlier string, seed uint16, taken []netip.Prefix) (string, error) {
	if p, err := netip.ParsePrefix(earlier); err == nil && free(p, taken) {
		return earlier, nil
	}
	for i := range pieces {
		n := (int(seed) + i) % pieces
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(88 + n/32), byte(n % 32 * 8), 0}), 21)
		if free(p, taken) {
			return p.String(), nil
		}
	}
	return "", fmt.Errorf("no network is free for containers: this host uses all of 10.88.0.0/15; set sandbox.subnet of a `slipway agent` instead")
}

func free(p netip.Prefix, taken []netip.Prefix) bool {
	for _, t := range taken {
		if p.Overlaps(t) {
			return false
		}
	}
	return true
}

// takenNetworks are those of the host's interfaces and routes, without the default routes and without those of own, the
// stack's bridge.
func takenNetworks(own string) ([]netip.Prefix, error) {
	all, err := net.Interfaces()
	if err != nil {
		return nil, fmt.Errorf("looking at the host's networks: %w", err)
	}
	var out []netip.Prefix
	for _, i := range all {
		addrs, err := i.Addrs()
		if err != nil || i.Name == own {
			continue // It is gone, so it takes nothing.
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() {
				out = append(out, p.Masked())
			}
		}
	}
	routes, err := os.ReadFile("/proc/net/route")
	if err != nil {
		return nil, fmt.Errorf("looking at the host's routes: %w", err)
	}
	return append(out, parseRoutes(string(routes), own)...), nil
}

// parseRoutes reads proc_net_route(5): hexadecimal numbers in host byte order, here little endian as on every platform
// that Slipway is built for.
func parseRoutes(table, own string) []netip.Prefix {
	var out []netip.Prefix
	for s := bufio.NewScanner(strings.NewReader(table)); s.Scan(); {
		f := strings.Fields(s.Text())
		if len(f) < 8 || f[0] == own {
			continue
		}
		to, err1 := hex.DecodeString(f[1])
		mask, err2 := hex.DecodeString(f[7])
		if err1 != nil || err2 != nil || len(to) != 4 || len(mask) != 4 {
			continue // The heading.
		}
		var addr [4]byte
		binary.BigEndian.PutUint32(addr[:], binary.LittleEndian.Uint32(to))
		var m [4]byte
		binary.BigEndian.PutUint32(m[:], binary.LittleEndian.Uint32(mask))
		if bits, _ := net.IPMask(m[:]).Size(); bits > 0 {
			out = append(out, netip.PrefixFrom(netip.AddrFrom4(addr), bits).Masked())
		}
	}
	return out
}

// network is the stack's subnet.
func (d *Dev) network(bridge string, seed uint16) (string, error) {
	var earlier string
	if c, err := agentconf.Load(d.agentConfig()); err == nil {
		earlier = c.Sandbox.Subnet
	}
	taken, err := takenNetworks(bridge)
	if err != nil {
		return "", err
	}
	return subnet(earlier, seed, taken)
}
