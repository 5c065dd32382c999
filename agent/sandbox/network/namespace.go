package network

import (
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/slipway-ci/slipway/agent/sandbox/osthread"
)

// create makes a network namespace with loopback up and pins it at path.
func create(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o600)
	if err != nil {
		return fmt.Errorf("pinning a network namespace: %w", err)
	}
	_ = f.Close()
	err = osthread.Throwaway(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("new network namespace: %w", err)
		}
		if err := prepare(); err != nil {
			return err
		}
		return unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, "")
	})
	if err != nil {
		_ = os.Remove(path)
		return fmt.Errorf("making network namespace %s: %w", path, err)
	}
	return nil
}

// prepare sets up the calling thread's new namespace.
func prepare() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("finding loopback: %w", err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("setting loopback up: %w", err)
	}
	for _, s := range []struct{ file, value string }{
		{"ipv6/conf/default/disable_ipv6", "1"}, // for interfaces to come; loopback keeps ::1
		{"ipv4/ip_unprivileged_port_start", "0"},
		{"ipv4/ping_group_range", "0 2147483647"},
	} {
		err := os.WriteFile("/proc/sys/net/"+s.file, []byte(s.value), 0o644)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("setting net/%s: %w", s.file, err)
		}
	}
	return nil
}

// within runs f on a thread in the namespace at path; processes that f starts are in it, too.
func within(path string, f func() error) error {
	return osthread.Throwaway(func() error {
		ns, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("entering network namespace: %w", err)
		}
		defer ns.Close()
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("entering network namespace %s: %w", path, err)
		}
		return f()
	})
}

// pinned is whether a namespace is mounted at path; after a reboot only the file is left.
func pinned(path string) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Type == unix.NSFS_MAGIC
}

// unpin lets go of the namespace at path. Idempotent.
func unpin(path string) error {
	for pinned(path) {
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
			return fmt.Errorf("unpinning network namespace %s: %w", path, err)
		}
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("unpinning network namespace: %w", err)
	}
	return nil
}
