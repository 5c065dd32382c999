package network

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Adopt is like Get, of the namespace in which a process is: one that belongs to a user namespace. The process need not live on.
func (n *Network) Adopt(ctx context.Context, egress bool, pid int) (Namespace, error) {
	prefix := prefixLoopback
	if egress {
		if err := n.setupOnce(); err != nil {
			return Namespace{}, err
		}
		prefix = prefixEgress
	}
	name := newName(prefix)
	ns := Namespace{Name: name, Path: n.path(name)}
	if err := pin(ns.Path, fmt.Sprintf("/proc/%d/ns/net", pid)); err != nil {
		return Namespace{}, err
	}
	err := within(ns.Path, prepare)
	if err == nil && egress {
		err = n.attach(name)
	}
	if err != nil {
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), attachPatience)
		defer cancel()
		return Namespace{}, errors.Join(err, n.Release(clean, name))
	}
	return ns, nil
}

// pin makes a file that keeps a namespace.
func pin(path, namespace string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o600)
	if err != nil {
		return fmt.Errorf("pinning a network namespace: %w", err)
	}
	_ = f.Close()
	if err := unix.Mount(namespace, path, "", unix.MS_BIND, ""); err != nil {
		return errors.Join(fmt.Errorf("pinning network namespace %s: %w", namespace, err), os.Remove(path))
	}
	return nil
}
