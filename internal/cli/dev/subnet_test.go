package dev

import (
	"net/netip"
	"testing"
)

func TestSubnetAvoidsTheHostsNetworks(t *testing.T) {
	host := func(prefixes ...string) (out []netip.Prefix) {
		for _, p := range prefixes {
			out = append(out, netip.MustParsePrefix(p))
		}
		return out
	}
	for _, tt := range []struct {
		name, earlier string
		seed          uint16
		taken         []netip.Prefix
		want          string
	}{
		{"first choice", "", 3, host("192.168.1.0/24"), "10.88.24.0/21"},
		{"another stack has it", "", 3, host("10.88.24.0/21"), "10.88.32.0/21"},
		{"a VPN has all of 10.88", "", 3, host("10.88.0.0/16"), "10.89.0.0/21"},
		{"round the end", "", 63, host("10.89.248.0/21"), "10.88.0.0/21"},
		{"kept from an earlier start", "10.88.80.0/21", 3, nil, "10.88.80.0/21"},
		{"kept no longer: taken since", "10.88.80.0/21", 3, host("10.88.81.7/32"), "10.88.24.0/21"},
		{"nonsense in the file", "x", 3, nil, "10.88.24.0/21"},
		{"nothing is left", "", 3, host("10.0.0.0/8"), ""},
	} {
		got, err := subnet(tt.earlier, tt.seed, tt.taken)
		if got != tt.want || (err != nil) != (tt.want == "") {
			t.Errorf("%s: %q, %v, want %q", tt.name, got, err, tt.want)
		}
	}
}

func TestRoutes(t *testing.T) {
	const table = `Iface	Destination	Gateway 	Flags	RefCnt	Use	Metric	Mask		MTU	Window	IRTT
eth0	00000000	0100000A	0003	0	0	0	00000000	0	0	0
tun0	0000580A	00000000	0001	0	0	0	0000FFFF	0	0	0
slwown	0030580A	00000000	0001	0	0	0	00F8FFFF	0	0	0
`
	got := parseRoutes(table, "slwown")
	if len(got) != 1 || got[0].String() != "10.88.0.0/16" {
		t.Errorf("%v", got)
	}
}
