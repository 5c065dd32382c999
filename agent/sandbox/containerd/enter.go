package containerd

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/agent/sandbox/osthread"
	"github.com/slipway-ci/slipway/agent/sandbox/procid"
)

// furnish gives a container that was made ahead what is its job's own: host name and mounts, in the place of what was
// mounted there to be replaced. Only its init may run in it, and no step may have run before.
func furnish(init procid.ID, hostname string, mounts []sandbox.Mount) error {
	trees := make([]*os.File, 0, len(mounts))
	defer func() {
		for _, t := range trees {
			_ = t.Close()
		}
	}()
	for _, m := range mounts {
		// A copy of the mount that belongs to no namespace yet: what mount(2) binds must be in the caller's, and there
		// the host's directories can't be seen (open_tree(2), Linux 5.2).
		fd, err := unix.OpenTree(unix.AT_FDCWD, m.Source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
		if err != nil {
			return fmt.Errorf("mounting %s: %w", m.Source, err)
		}
		trees = append(trees, os.NewFile(uintptr(fd), m.Source))
	}
	return enter(init, func() error {
		if err := unix.Sethostname([]byte(hostname)); err != nil {
			return fmt.Errorf("setting its host name: %w", err)
		}
		for i := len(mounts) - 1; i >= 0; i-- {
			if err := unix.Unmount(mounts[i].Target, 0); err != nil {
				return fmt.Errorf("making room at %s: %w", mounts[i].Target, err)
			}
		}
		for i, m := range mounts {
			if err := place(trees[i], m); err != nil {
				return fmt.Errorf("mounting %s: %w", m.Target, err)
			}
		}
		return nil
	})
}

// place mounts a tree as runc does a bind mount with rbind, rprivate and, if so, ro.
func place(tree *os.File, m sandbox.Mount) error {
	// One that lies in another is missing there, as it is for runc.
	if err := os.MkdirAll(m.Target, 0o755); err != nil {
		return err
	}
	if err := unix.MoveMount(int(tree.Fd()), "", unix.AT_FDCWD, m.Target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return err
	}
	if err := unix.Mount("", m.Target, "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keeping it apart from the host's: %w", err)
	}
	if !m.ReadOnly {
		return nil
	}
	var st unix.Statfs_t
	if err := unix.Statfs(m.Target, &st); err != nil {
		return err
	}
	// A remount sets all flags: those that the host's mount has stay.
	kept := uintptr(st.Flags) & (unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC)
	return unix.Mount("", m.Target, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|kept, "")
}

// enter runs f in the mount and host name namespaces of a container's init.
func enter(init procid.ID, f func() error) (err error) {
	var files [2]*os.File
	for i, kind := range []string{"mnt", "uts"} {
		if files[i], err = os.Open(fmt.Sprintf("/proc/%d/ns/%s", init.PID, kind)); err != nil {
			return fmt.Errorf("entering the container: %w", err)
		}
		defer files[i].Close()
	}
	if !init.Alive() { // asked after opening, so the files are not those of another process
		return fmt.Errorf("entering the container: %w", procid.ErrGone)
	}
	return osthread.Throwaway(func() error {
		// One that shares its root directory with other threads may not change its mount namespace (setns(2)).
		err := unix.Unshare(unix.CLONE_FS)
		err = errors.Join(err, unix.Setns(int(files[0].Fd()), unix.CLONE_NEWNS), unix.Setns(int(files[1].Fd()), unix.CLONE_NEWUTS))
		if err != nil {
			return fmt.Errorf("entering the container: %w", err)
		}
		return f()
	})
}
