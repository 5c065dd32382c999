package supervisor

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/slipway-ci/slipway/agent/sandbox/cgroup"
)

// group is a step's control group, as descriptors that the agent opened. A nil group is none.
type group struct {
	tasks   []*os.File // v1: the way in, for a thread
	dir     *os.File   // v2: the way in, for clone3
	procs   *os.File
	pidsMax *os.File
	pids    *counter
	memory  *counter
}

// counter is one line of a file that only grows; it counts from when it was made.
type counter struct {
	file *os.File
	key  string
	base int64
}

// newGroup takes over files; those of a purpose that it does not know are closed.
func newGroup(purposes []string, files []*os.File) *group {
	if len(purposes) == 0 || len(purposes) != len(files) {
		closeFiles(files)
		return nil
	}
	g := &group{}
	for i, f := range files {
		switch purposes[i] {
		case cgroup.Tasks:
			g.tasks = append(g.tasks, f)
		case cgroup.Dir:
			g.dir = f
		case cgroup.Procs:
			g.procs = f
		case cgroup.PIDsMax:
			g.pidsMax = f
		case cgroup.PIDsEvents:
			g.pids = newCounter(f, "max")
		case cgroup.MemoryEvents:
			g.memory = newCounter(f, "oom_kill")
		default:
			_ = f.Close()
		}
	}
	return g
}

func newCounter(f *os.File, key string) *counter {
	c := &counter{file: f, key: key}
	c.base = c.read()
	return c
}

func (c *counter) read() int64 {
	if c == nil {
		return 0
	}
	buf := make([]byte, 512)
	n, _ := c.file.ReadAt(buf, 0) // ends with io.EOF
	for line := range bytes.Lines(buf[:n]) {
		if f := bytes.Fields(line); len(f) == 2 && string(f[0]) == c.key {
			v, err := strconv.ParseInt(string(f[1]), 10, 64)
			if err != nil {
				return c.base
			}
			return v - c.base
		}
	}
	return 0
}

// fork starts a process that is in the group from its first instruction on.
func (g *group) fork(cmd *command, attr *syscall.ProcAttr) (pid int, err error) {
	switch {
	case g == nil:
		return syscall.ForkExec(cmd.path, cmd.argv, attr)
	case g.dir != nil:
		attr.Sys.UseCgroupFD, attr.Sys.CgroupFD = true, int(g.dir.Fd())
		return syscall.ForkExec(cmd.path, cmd.argv, attr)
	}
	onThrowawayThread(func() {
		for _, f := range g.tasks {
			if _, err = f.WriteAt([]byte("0"), 0); err != nil {
				err = fmt.Errorf("entering the step's control group: %w", err)
				return
			}
		}
		pid, err = syscall.ForkExec(cmd.path, cmd.argv, attr)
	})
	return pid, err
}

// onThrowawayThread runs f on a thread that ends with it, so that what f does to its thread concerns nobody else.
func onThrowawayThread(f func()) {
	done := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			// The first thread can't end. Held here, it can't be given to the next one.
			onThrowawayThread(f)
			runtime.UnlockOSThread()
			close(done)
			return
		}
		f()
		close(done)
		// Ending without unlocking ends the thread.
	}()
	<-done
}

// members lists the group's processes, as numbered in this PID namespace. ok is false if that can't be known.
func (g *group) members() (pids []int, ok bool) {
	if g == nil || g.procs == nil {
		return nil, false
	}
	// Opened again each time: a v1 file shows one that reads it again the list of the first time (cgroup-v1 pidlists).
	data, err := os.ReadFile("/proc/self/fd/" + strconv.Itoa(int(g.procs.Fd())))
	if err != nil {
		return nil, false
	}
	own := os.Getpid()
	for _, text := range bytes.Fields(data) {
		// 0 is a process outside this namespace: not ours to end.
		if pid, err := strconv.Atoi(string(text)); err == nil && pid > 0 && pid != own {
			pids = append(pids, pid)
		}
	}
	return pids, true
}

// freezeForks makes every further fork fail, so that killing what there is ends even a fork bomb.
func (g *group) freezeForks() error {
	if g == nil || g.pidsMax == nil {
		return nil
	}
	_, err := g.pidsMax.WriteAt([]byte("0"), 0)
	return err
}

func (g *group) close() {
	if g == nil {
		return
	}
	g.entered()
	for _, f := range []*os.File{g.procs, g.pidsMax} {
		if f != nil {
			_ = f.Close()
		}
	}
	for _, c := range []*counter{g.pids, g.memory} {
		if c != nil {
			_ = c.file.Close()
		}
	}
}

// entered closes the ways in: nobody needs them once the step has started.
func (g *group) entered() {
	if g == nil {
		return
	}
	closeFiles(g.tasks)
	g.tasks = nil
	if g.dir != nil {
		_ = g.dir.Close()
		g.dir = nil
	}
}
