// Package procid names a process beyond the reuse of its number: a pid and the time it started.
package procid

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// ErrGone: the process does not exist any more, or its pid belongs to another one.
var ErrGone = errors.New("procid: process is gone")

// ID is a process of this host.
type ID struct {
	PID int `json:"pid"`
	// Start is in clock ticks since boot (proc(5), starttime).
	Start uint64 `json:"start"`
}

// Of returns the identity of a live process.
func Of(pid int) (ID, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return ID{}, fmt.Errorf("%w: pid %d: %w", ErrGone, pid, err)
	}
	// The command's name is in parentheses and may hold any character; starttime is the 20th field after it.
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	if len(fields) < 20 {
		return ID{}, fmt.Errorf("pid %d: unexpected /proc stat line", pid)
	}
	if fields[0][0] == 'Z' || fields[0][0] == 'X' {
		return ID{}, fmt.Errorf("%w: pid %d is a zombie", ErrGone, pid)
	}
	start, err := strconv.ParseUint(string(fields[19]), 10, 64)
	if err != nil {
		return ID{}, fmt.Errorf("pid %d: start time: %w", pid, err)
	}
	return ID{PID: pid, Start: start}, nil
}

// Parent returns the identity of a live process's parent.
func Parent(id ID) (ID, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", id.PID))
	if err != nil || !id.Alive() {
		return ID{}, fmt.Errorf("%w: pid %d", ErrGone, id.PID)
	}
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	if len(fields) < 2 {
		return ID{}, fmt.Errorf("pid %d: unexpected /proc stat line", id.PID)
	}
	parent, err := strconv.Atoi(string(fields[1]))
	if err != nil {
		return ID{}, fmt.Errorf("pid %d: parent: %w", id.PID, err)
	}
	return Of(parent)
}

// Alive is whether exactly this process lives.
func (id ID) Alive() bool {
	now, err := Of(id.PID)
	return id.PID > 0 && err == nil && now == id
}

// Handle holds on to a process: its signals can't reach a successor with the same pid.
type Handle struct {
	file *os.File
	done chan struct{}
}

// Open returns a handle of a live process, ErrGone if it ended. Close it.
func Open(id ID) (*Handle, error) {
	if id.PID <= 0 {
		return nil, ErrGone
	}
	fd, err := unix.PidfdOpen(id.PID, unix.PIDFD_NONBLOCK)
	if errors.Is(err, unix.ESRCH) {
		return nil, ErrGone
	}
	if err != nil {
		return nil, fmt.Errorf("opening process %d: %w", id.PID, err)
	}
	h := &Handle{file: os.NewFile(uintptr(fd), "pidfd"), done: make(chan struct{})}
	if !id.Alive() {
		_ = h.file.Close()
		return nil, ErrGone
	}
	go h.watch()
	return h, nil
}

// watch waits until the descriptor is readable, which is when the process has ended, or until it is closed.
func (h *Handle) watch() {
	raw, err := h.file.SyscallConn()
	if err != nil {
		return
	}
	ended := false
	_ = raw.Read(func(fd uintptr) bool {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(p, 0)
		ended = err == nil && n > 0
		return ended
	})
	if ended {
		close(h.done)
	}
}

// Done is closed when the process has ended.
func (h *Handle) Done() <-chan struct{} { return h.done }

// Wait blocks until the process has ended, or ctx.
func (h *Handle) Wait(ctx context.Context) error {
	select {
	case <-h.done:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Signal sends a signal; ErrGone if the process has ended.
func (h *Handle) Signal(sig unix.Signal) error {
	var err error
	raw, rawErr := h.file.SyscallConn()
	if rawErr != nil {
		return rawErr
	}
	ctlErr := raw.Control(func(fd uintptr) { err = unix.PidfdSendSignal(int(fd), sig, nil, 0) })
	if errors.Is(err, unix.ESRCH) {
		return ErrGone
	}
	return errors.Join(err, ctlErr)
}

// Close lets go; Done is then never closed if the process still lived.
func (h *Handle) Close() error {
	_ = h.file.SetReadDeadline(time.Now())
	return h.file.Close()
}
