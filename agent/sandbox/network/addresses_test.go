package network

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
)

func addressesIn(t *testing.T, dir, subnet string, exists ...string) *addresses {
	t.Helper()
	a, err := openAddresses(dir, netip.MustParsePrefix(subnet), func(owner string) bool {
		for _, e := range exists {
			if e == owner {
				return true
			}
		}
		return false
	})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func take(t *testing.T, a *addresses, owner string) string {
	t.Helper()
	ip, err := a.take(owner)
	if err != nil {
		t.Fatal(err)
	}
	return ip.String()
}

func TestAddressesGoRound(t *testing.T) {
	a := addressesIn(t, t.TempDir(), "10.9.0.0/29")
	if a.gateway().String() != "10.9.0.1" {
		t.Errorf("gateway %s", a.gateway())
	}
	for i, want := range []string{"10.9.0.2/29", "10.9.0.3/29", "10.9.0.4/29", "10.9.0.5/29", "10.9.0.6/29"} {
		if got := take(t, a, string(rune('a'+i))); got != want {
			t.Errorf("address %s, want %s", got, want)
		}
	}
	if ip, err := a.take("f"); !errors.Is(err, errNoAddress) {
		t.Errorf("a sixth address of five: %s, %v", ip, err)
	}
	for range 2 {
		if err := a.release("c"); err != nil {
			t.Error(err)
		}
	}
	if got := take(t, a, "f"); got != "10.9.0.4/29" {
		t.Errorf("address %s", got)
	}
}

func TestAddressesOfAnEarlierAgent(t *testing.T) {
	dir := t.TempDir()
	// As CNI's host-local plugin writes them.
	for name, content := range map[string]string{
		"10.9.0.7": "e-lives\r\neth0", "10.9.0.9": "e-gone\r\neth0", "10.9.0.11": "", "last_reserved_ip.0": "10.9.0.9", "lock": "",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a := addressesIn(t, dir, "10.9.0.0/24", "e-lives")
	if got := take(t, a, "e-new"); got != "10.9.0.8/24" {
		t.Errorf("address %s", got)
	}
	for name, want := range map[string]bool{"10.9.0.7": true, "10.9.0.9": false, "10.9.0.11": false, "lock": true} {
		if _, err := os.Stat(filepath.Join(dir, name)); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := a.release("e-lives"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "10.9.0.7")); err == nil {
		t.Error("the released address is still taken")
	}
}
