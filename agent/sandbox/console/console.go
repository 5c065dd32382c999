// Package console makes the two ends of what goes in and out of a process in a pod: the caller's, and descriptors for the process.
package console

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/agent/supervisor/proto"
)

// Ends are both ends of a console.
type Ends struct {
	// Ours is the caller's.
	Ours *sandbox.Console
	// Kind, Output and Rest are what a supervisor is given; CloseTheirs once it has them.
	Kind   proto.Console
	Output *os.File
	Rest   []*os.File
}

// Given is what a supervisor is given for a process's output; of nil Ends a step's file.
func (e *Ends) Given(file string) (output *os.File, kind proto.Console, rest []*os.File, err error) {
	if e == nil {
		output, err = os.OpenFile(file, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
		return output, "", nil, err
	}
	return e.Output, e.Kind, e.Rest, nil
}

// CloseTheirs closes the process's end, which the process has copies of.
func (e *Ends) CloseTheirs() {
	_ = e.Output.Close()
	for _, f := range e.Rest {
		_ = f.Close()
	}
}

// Close closes both ends.
func (e *Ends) Close() {
	e.CloseTheirs()
	e.Ours.Close()
}

// Pipes makes a console of three pipes.
func Pipes() (*Ends, error) {
	var files []*os.File
	for range 3 {
		r, w, err := os.Pipe()
		if err != nil {
			for _, f := range files {
				_ = f.Close()
			}
			return nil, fmt.Errorf("making a pipe: %w", err)
		}
		files = append(files, r, w)
	}
	in, out, stderr := files[0:2], files[2:4], files[4:6]
	return &Ends{Ours: &sandbox.Console{In: in[1], Out: out[0], Err: stderr[0]}, Kind: proto.Pipes, Output: out[1], Rest: []*os.File{in[0], stderr[1]}}, nil
}

// Terminal makes a pseudo-terminal by the ptmx found beneath root. What is there may be anybody's work, so it is looked at before it is opened:
// unless host says that root is the host's own, it must be in an instance of devpts. owner is who the terminal belongs to, as numbered on this host.
func Terminal(root *os.File, ptmx string, owner int, host bool) (_ *Ends, err error) {
	// Links lead at most to somewhere beneath root (openat2(2)).
	fd, err := unix.Openat2(int(root.Fd()), ptmx, &unix.OpenHow{Flags: unix.O_PATH | unix.O_CLOEXEC, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", ptmx, err)
	}
	path := os.NewFile(uintptr(fd), ptmx)
	defer path.Close()
	var st unix.Stat_t
	var fs unix.Statfs_t
	if err := errors.Join(unix.Fstat(fd, &st), unix.Fstatfs(fd, &fs)); err != nil {
		return nil, fmt.Errorf("looking at %s: %w", ptmx, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != unix.Mkdev(5, 2) || fs.Type != unix.DEVPTS_SUPER_MAGIC && !host {
		return nil, fmt.Errorf("%s is not the kernel's", ptmx)
	}
	// Not blocking, so that closing it ends a read.
	mfd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", fd), unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("opening a pseudo-terminal: %w", err)
	}
	master := os.NewFile(uintptr(mfd), "ptmx")
	defer func() {
		if err != nil {
			_ = master.Close()
		}
	}()
	if err := unix.IoctlSetPointerInt(mfd, unix.TIOCSPTLCK, 0); err != nil {
		return nil, fmt.Errorf("unlocking a pseudo-terminal: %w", err)
	}
	// By the master, not by a name that leads to who knows what (ioctl_tty(2), TIOCGPTPEER).
	sfd, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(mfd), unix.TIOCGPTPEER, unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC)
	if errno != 0 {
		return nil, fmt.Errorf("opening a pseudo-terminal's other end: %w", errno)
	}
	slave := os.NewFile(sfd, "tty")
	if owner > 0 {
		if err := slave.Chown(owner, -1); err != nil {
			_ = slave.Close()
			return nil, fmt.Errorf("giving a terminal to the pod: %w", err)
		}
	}
	t := &terminal{master}
	return &Ends{Ours: &sandbox.Console{In: t, Out: t, Resize: t.resize}, Kind: proto.Terminal, Output: slave}, nil
}

type terminal struct{ *os.File }

// Read implements io.Reader: that nobody has the other end any more is the end (EIO, tty_ioctl(4)).
func (t *terminal) Read(b []byte) (int, error) {
	n, err := t.File.Read(b)
	if errors.Is(err, unix.EIO) {
		err = io.EOF
	}
	return n, err
}

func (t *terminal) resize(rows, columns uint16) error {
	raw, err := t.SyscallConn()
	if err != nil {
		return err
	}
	if ctl := raw.Control(func(fd uintptr) {
		err = unix.IoctlSetWinsize(int(fd), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns})
	}); ctl != nil {
		return ctl
	}
	return err
}
