package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-ci/slipway/agent/sandbox/procid"
)

// markName is the variable by which a pod's processes are known when nothing else leads to them. Its value is the pod's
// directory: unique on the host, also between agents.
const markName = "SLIPWAY_POD"

func (d podDir) mark() string { return markName + "=" + string(d) }

// member is a process of a pod.
type member struct {
	procid.ID
	supervisor bool
}

// proc is what matters of one process of the host.
type proc struct {
	id     procid.ID
	parent int
	// supervisor and marked: by argv and environment.
	supervisor, marked bool
}

// members finds the pod's live processes by argv, descent, mark and control group. One that begins meanwhile may be missed,
// so who wants all of them gone looks again until there are none.
func (s *Sandbox) members(dir podDir, group string) ([]member, error) {
	all, err := s.scan(dir)
	if err != nil {
		return nil, err
	}
	grouped := map[int]bool{}
	if group != "" && s.groups != nil {
		pids, err := s.groups.Processes(group)
		if err != nil {
			return nil, err
		}
		for _, pid := range pids {
			grouped[pid] = true
		}
	}
	var found []member
	for pid, p := range all {
		if p.supervisor || p.marked || grouped[pid] || descends(all, p) {
			found = append(found, member{p.id, p.supervisor})
		}
	}
	return found, nil
}

// descends is whether an ancestor of p is the pod's supervisor. The chain is bounded: /proc is not read at one instant.
func descends(all map[int]proc, p proc) bool {
	for range len(all) {
		parent, ok := all[p.parent]
		if !ok {
			return false
		}
		if parent.supervisor {
			return true
		}
		p = parent
	}
	return false
}

// scan reads the host's processes, without zombies.
func (s *Sandbox) scan(dir podDir) (map[int]proc, error) {
	d, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("finding the pod's processes: %w", err)
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("finding the pod's processes: %w", err)
	}
	argv := []byte(s.supervisor() + "\x00" + dir.run() + "\x00")
	mark := []byte(dir.mark())
	all := make(map[int]proc, len(names))
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		id, err := procid.Of(pid)
		if err != nil {
			continue // gone, or a zombie
		}
		p := proc{id: id, parent: parentOf(pid)}
		// The environment of other users' processes can't be read; nor that of the supervisor, which is known by its argv.
		environ, _ := os.ReadFile(filepath.Join("/proc", name, "environ"))
		p.marked = slices.ContainsFunc(bytes.Split(environ, []byte{0}), func(e []byte) bool { return bytes.Equal(e, mark) })
		cmdline, _ := os.ReadFile(filepath.Join("/proc", name, "cmdline"))
		p.supervisor = bytes.Equal(cmdline, argv)
		all[pid] = p
	}
	return all, nil
}

// parentOf reads /proc/PID/stat (proc(5)); 0 if the process is gone.
func parentOf(pid int) int {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The command's name is in parentheses and may hold anything; the state and the parent follow it.
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	if len(fields) < 2 {
		return 0
	}
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		return 0
	}
	return parent
}

// kill ends every process of the pod, the supervisor last: as long as it lives, what a step started can be traced to it. It
// returns when none is left, or with an error when ctx ends.
func (s *Sandbox) kill(ctx context.Context, dir podDir, group string) error {
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		found, err := s.members(dir, group)
		if err != nil || len(found) == 0 {
			return err
		}
		steps := slices.DeleteFunc(slices.Clone(found), func(m member) bool { return m.supervisor })
		if len(steps) == 0 {
			steps = found
		}
		for _, m := range steps {
			if err := m.kill(); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%d processes survive KILL, process %d for one: %w", len(found), found[0].PID, context.Cause(ctx))
		case <-time.After(pause):
		}
	}
}

// kill sends KILL to exactly this process, and collects it if it is this agent's own child.
func (m member) kill() error {
	h, err := procid.Open(m.ID)
	if errors.Is(err, procid.ErrGone) {
		return nil
	}
	if err != nil {
		return err
	}
	defer h.Close()
	if err := h.Signal(unix.SIGKILL); err != nil && !errors.Is(err, procid.ErrGone) {
		return fmt.Errorf("killing process %d: %w", m.PID, err)
	}
	if m.supervisor {
		collect(m.PID)
	}
	return nil
}

// collect takes a supervisor's exit status, if it has ended and this agent started it. No goroutine waits for it: it
// outlives the sandbox that started it.
func collect(pid int) {
	for {
		_, err := unix.Wait4(pid, nil, unix.WNOHANG, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}
