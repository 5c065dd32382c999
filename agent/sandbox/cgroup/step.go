package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Names of groups beneath that of a container whose processes get groups of their own.
const (
	// stepsName holds the steps' groups, and the limit of processes: what supervises them is not under it.
	stepsName = "steps"
	// initName is where the container's init goes in v2, in which a group has either processes or controllers for others.
	initName = "init"
)

// What a descriptor of a File is for. The purposes cross a protocol: never rename one.
const (
	// Tasks of a v1 hierarchy: a thread that writes 0 moves itself, and what it forks, into the group.
	Tasks = "tasks"
	// Dir is the v2 group's directory, for clone3(2) with CLONE_INTO_CGROUP.
	Dir = "dir"
	// Procs lists the group's processes, numbered as in the reader's PID namespace.
	Procs = "procs"
	// PIDsMax is written 0 to stop all forking before everything is killed.
	PIDsMax = "pids.max"
	// PIDsEvents counts, as "max N", forks that a limit of processes refused.
	PIDsEvents = "pids.events"
	// MemoryEvents counts, as "oom_kill N", processes killed for want of memory.
	MemoryEvents = "memory.events"
)

// File is a descriptor of one file of a group.
type File struct {
	Purpose string
	*os.File
}

// Entry is what it takes to start a process in a group, to watch and to end it, without access to any other group. Close it.
type Entry []File

// Close closes all descriptors.
func (e Entry) Close() error {
	var errs []error
	for _, f := range e {
		errs = append(errs, f.File.Close())
	}
	return errors.Join(errs...)
}

// Files returns what each descriptor is for, and the descriptors.
func (e Entry) Files() (purposes []string, files []*os.File) {
	for _, f := range e {
		purposes, files = append(purposes, f.Purpose), append(files, f.File)
	}
	return purposes, files
}

// StepGroup names a step's group beneath its container's.
func StepGroup(container, step string) string { return filepath.Join(container, stepsName, step) }

// Divide makes room for groups of steps beneath a container's group, once its init, a process of this host, is in it and
// before it has started. The limit of processes holds for all steps together.
func (h *Host) Divide(container string, init int, l Limits) error {
	for _, m := range h.mounts {
		if err := m.divide(container, init, l, h.Unified()); err != nil {
			return fmt.Errorf("dividing control group %s: %w", container, err)
		}
	}
	return nil
}

func (m mount) divide(container string, init int, l Limits, unified bool) error {
	steps := filepath.Join(container, stepsName)
	pids := Limits{PIDs: l.PIDs}
	switch {
	case m.v2 && unified:
		leaf := filepath.Join(m.path, container, initName)
		if err := os.Mkdir(leaf, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		if err := os.WriteFile(filepath.Join(leaf, "cgroup.procs"), []byte(strconv.Itoa(init)), 0o644); err != nil {
			return fmt.Errorf("moving its init: %w", err)
		}
		if err := m.delegate(filepath.Join(steps, "x"), false); err != nil {
			return err
		}
		return writeAll(filepath.Join(m.path, steps), limitsV2(pids))
	case m.ofSteps(l):
		if err := os.MkdirAll(filepath.Join(m.path, steps), 0o755); err != nil {
			return err
		}
		return writeAll(filepath.Join(m.path, steps), m.limitsV1(pids))
	}
	return nil
}

// LimitSteps changes the limit of processes that Divide set for all steps together.
func (h *Host) LimitSteps(container string, l Limits) error {
	if l.PIDs <= 0 {
		return nil
	}
	pids := Limits{PIDs: l.PIDs}
	for _, m := range h.mounts {
		dir, settings := filepath.Join(m.path, container, stepsName), m.limitsV1(pids)
		switch {
		case m.v2 && h.Unified():
			settings = limitsV2(pids)
		case m.v2 || !m.ofSteps(pids):
			continue
		}
		if err := writeAll(dir, settings); err != nil {
			return fmt.Errorf("limiting the steps of %s: %w", container, err)
		}
	}
	return nil
}

// ofSteps is whether steps get groups in this v1 hierarchy. Their CPU time is the container's, unless it is limited.
func (m mount) ofSteps(l Limits) bool {
	return m.has("memory") || m.has("pids") || (l.CPUMilli > 0 && m.has("cpu"))
}

// Enter makes a step's group and returns the descriptors to use it. Idempotent.
func (h *Host) Enter(container, step string, l Limits) (Entry, error) {
	var e Entry
	group := StepGroup(container, step)
	for _, m := range h.mounts {
		more, err := m.enter(group, l, h.Unified())
		e = append(e, more...)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("control group %s: %w", group, err), e.Close())
		}
	}
	return e, nil
}

// wanted is a file to open. One without which the rest still works may be missing, on older kernels.
type wanted struct {
	purpose, name string
	flags         int
	optional      bool
}

func (m mount) enter(group string, l Limits, unified bool) (Entry, error) {
	var files []wanted
	dir := filepath.Join(m.path, group)
	settings := m.limitsV1(l)
	switch {
	case m.v2 && unified:
		settings = limitsV2(l)
		files = []wanted{
			{Dir, ".", unix.O_PATH | unix.O_DIRECTORY, false},
			{Procs, "cgroup.procs", os.O_RDONLY, false},
			{PIDsMax, "pids.max", os.O_WRONLY, true},
			{PIDsEvents, "../pids.events", os.O_RDONLY, true}, // counted where the limit is
			{MemoryEvents, "memory.events", os.O_RDONLY, true},
		}
	case m.v2 || !m.ofSteps(l):
		return nil, nil
	default:
		files = []wanted{{Tasks, "tasks", os.O_WRONLY, false}}
		if m.has("pids") {
			files = append(files, wanted{Procs, "cgroup.procs", os.O_RDONLY, false}, wanted{PIDsMax, "pids.max", os.O_WRONLY, true},
				wanted{PIDsEvents, "pids.events", os.O_RDONLY, true}) // counted where the fork was tried
		}
		if m.has("memory") {
			files = append(files, wanted{MemoryEvents, "memory.oom_control", os.O_RDONLY, true})
		}
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	if err := writeAll(dir, settings); err != nil {
		return nil, err
	}
	return openAll(dir, files)
}

func openAll(dir string, files []wanted) (Entry, error) {
	var e Entry
	for _, w := range files {
		fd, err := unix.Open(filepath.Join(dir, w.name), w.flags|unix.O_CLOEXEC, 0)
		if err != nil && w.optional && errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return e, fmt.Errorf("opening %s: %w", w.name, err)
		}
		e = append(e, File{Purpose: w.purpose, File: os.NewFile(uintptr(fd), w.name)})
	}
	return e, nil
}

// Leave removes a step's group unless something of the step still runs. Idempotent.
func (h *Host) Leave(container, step string) error {
	for _, m := range h.mounts {
		err := ignoreGone(unix.Rmdir(filepath.Join(m.path, StepGroup(container, step))))
		if errors.Is(err, unix.EBUSY) {
			return nil // it goes with the container
		}
		if err != nil {
			return fmt.Errorf("removing the control group of step %s: %w", step, err)
		}
	}
	return nil
}

// Left counts the processes that run in each step's group beneath the container's.
func (h *Host) Left(container string) (map[string]int, error) {
	left := map[string]int{}
	for _, m := range h.mounts {
		entries, err := os.ReadDir(filepath.Join(m.path, container, stepsName))
		if err != nil {
			if ignoreGone(err) == nil {
				continue
			}
			return nil, fmt.Errorf("listing the steps of %s: %w", container, err)
		}
		for _, d := range entries {
			if !d.IsDir() || left[d.Name()] > 0 {
				continue
			}
			pids, err := h.Processes(StepGroup(container, d.Name()))
			if err != nil {
				return nil, err
			}
			if len(pids) > 0 {
				left[d.Name()] = len(pids)
			}
		}
	}
	return left, nil
}
