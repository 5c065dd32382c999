package network

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// addresses hands out those of a subnet. One that is in use is a file of its name, whose first line is its namespace's name:
// as CNI's host-local plugin has it, which earlier agents used, and their pods live on. Safe for concurrent use.
type addresses struct {
	dir    string
	subnet netip.Prefix

	mu   sync.Mutex
	last netip.Addr
}

// errNoAddress: every address of the subnet is in use.
var errNoAddress = errors.New("no address is free")

// openAddresses forgets those whose namespace does not exist any more.
func openAddresses(dir string, subnet netip.Prefix, exists func(owner string) bool) (*addresses, error) {
	a := &addresses{dir: dir, subnet: subnet.Masked()}
	a.last = a.gateway()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("addresses of pods: %w", err)
	}
	return a, a.each(func(file string, ip netip.Addr, owner string) error {
		if !exists(owner) {
			return os.Remove(file)
		}
		if a.subnet.Contains(ip) && a.last.Less(ip) {
			a.last = ip
		}
		return nil
	})
}

// gateway is the bridge's own address, the subnet's first.
func (a *addresses) gateway() netip.Addr { return a.subnet.Addr().Next() }

// take reserves an address for a namespace. It goes round the subnet, so that one that was just released rests.
func (a *addresses) take(owner string) (netip.Prefix, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	ip := a.last
	for range 1 << (32 - a.subnet.Bits()) {
		ip = ip.Next()
		if !a.subnet.Contains(ip.Next()) { // the last one is for broadcasts
			ip = a.gateway().Next()
		}
		f, err := os.OpenFile(filepath.Join(a.dir, ip.String()), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return netip.Prefix{}, fmt.Errorf("reserving an address: %w", err)
		}
		_, err = f.WriteString(owner + "\r\n" + interfaceName)
		if err = errors.Join(err, f.Close()); err != nil {
			return netip.Prefix{}, errors.Join(fmt.Errorf("reserving an address: %w", err), os.Remove(f.Name()))
		}
		a.last = ip
		return netip.PrefixFrom(ip, a.subnet.Bits()), nil
	}
	return netip.Prefix{}, fmt.Errorf("network.subnet %s: %w", a.subnet, errNoAddress)
}

// release gives back what a namespace has. Idempotent.
func (a *addresses) release(owner string) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.each(func(file string, _ netip.Addr, of string) error {
		if of != owner {
			return nil
		}
		return os.Remove(file)
	})
}

func (a *addresses) each(f func(file string, ip netip.Addr, owner string) error) error {
	entries, err := os.ReadDir(a.dir)
	if err != nil {
		return fmt.Errorf("addresses of pods: %w", err)
	}
	var errs []error
	for _, e := range entries {
		ip, err := netip.ParseAddr(e.Name())
		if err != nil {
			continue // what else the plugin kept here
		}
		file := filepath.Join(a.dir, e.Name())
		content, err := os.ReadFile(file)
		if err == nil {
			owner, _, _ := strings.Cut(string(content), "\r\n")
			err = f(file, ip, strings.TrimSpace(owner))
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("address %s: %w", ip, err))
		}
	}
	return errors.Join(errs...)
}
