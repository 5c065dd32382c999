// Package cgroup makes, limits, empties and removes the control group above a pod's containers, on cgroup v1, v2 and the
// hybrid of both (cgroups(7)). The containers' own groups below it are the runtime's.
package cgroup

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Limits of a group; zero is no limit.
type Limits struct {
	CPUMilli, Memory, PIDs int64
}

// Host knows where a host has its control groups. Safe for concurrent use.
type Host struct {
	mounts []mount
}

// mount is one hierarchy.
type mount struct {
	path        string
	controllers []string // of v1; empty for v2
	v2          bool
}

// Detect reads the host's hierarchies from /proc/self/mountinfo.
func Detect() (*Host, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("finding control groups: %w", err)
	}
	defer f.Close()
	return parse(f)
}

// parse reads proc(5) mountinfo: "id parent dev root target options … - type source superoptions".
func parse(r io.Reader) (*Host, error) {
	h := &Host{}
	seen := map[string]bool{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		left, right, ok := strings.Cut(lines.Text(), " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if !ok || len(l) < 5 || len(r) < 3 || l[3] != "/" {
			continue
		}
		m := mount{path: l[4], v2: r[0] == "cgroup2"}
		if !m.v2 && r[0] != "cgroup" {
			continue
		}
		if !m.v2 {
			m.controllers = strings.Split(r[2], ",")
		}
		if key := r[0] + r[2]; !seen[key] {
			seen[key] = true
			h.mounts = append(h.mounts, m)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("finding control groups: %w", err)
	}
	if len(h.mounts) == 0 {
		return nil, errors.New("this host has no cgroup file system mounted: mount cgroup2 on /sys/fs/cgroup")
	}
	return h, nil
}

// Unified is whether the host has cgroup v2 only.
func (h *Host) Unified() bool { return len(h.mounts) == 1 && h.mounts[0].v2 }

// Create makes the group, an absolute path like /slipway/agent/pod, and sets its limits. Idempotent.
func (h *Host) Create(group string, l Limits) error {
	for _, m := range h.mounts {
		if err := m.create(group, l, h.Unified()); err != nil {
			return fmt.Errorf("control group %s: %w", group, err)
		}
	}
	return nil
}

func (m mount) create(group string, l Limits, unified bool) error {
	dir := filepath.Join(m.path, group)
	switch {
	case m.v2 && unified:
		if err := m.delegate(group, true); err != nil {
			return err
		}
		return writeAll(dir, limitsV2(l))
	case m.v2 || m.has("name=systemd"):
		return nil // hybrid: the controllers are v1's
	case m.has("memory") || m.has("cpu") || m.has("pids"):
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		settings := m.limitsV1(l)
		if m.has("memory") {
			// Also for a group that is limited later: it can't be changed once there are groups below.
			settings = append([]setting{{file: "memory.use_hierarchy", value: "1", optional: true}}, settings...)
		}
		return writeAll(dir, settings)
	}
	return nil
}

func (m mount) has(controller string) bool { return slices.Contains(m.controllers, controller) }

// delegate makes the group in v2, or without last only the ones above it, and enables the controllers in these.
func (m mount) delegate(group string, last bool) error {
	dir := m.path
	parts := strings.Split(strings.Trim(group, "/"), "/")
	for i, part := range parts {
		have, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
		if err != nil {
			return err
		}
		enabled, err := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control"))
		if ignoreGone(err) != nil {
			return err
		}
		for _, c := range []string{"cpu", "memory", "pids"} {
			// Above a group that was delegated, only the service manager may write, and it has enabled them.
			if !slices.Contains(strings.Fields(string(have)), c) || slices.Contains(strings.Fields(string(enabled)), c) {
				continue
			}
			if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0o644); err != nil {
				return fmt.Errorf("enabling controller %s: %w", c, err)
			}
		}
		if !last && i == len(parts)-1 {
			return nil
		}
		dir = filepath.Join(dir, part)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return nil
}

// setting is one file's content.
type setting struct {
	file, value string
	optional    bool
}

// period is the CPU quota's period in microseconds, the kernel's default.
const period = 100_000

func limitsV2(l Limits) []setting {
	var s []setting
	if l.CPUMilli > 0 {
		s = append(s, setting{file: "cpu.max", value: fmt.Sprintf("%d %d", quota(l.CPUMilli), period)})
	}
	if l.Memory > 0 {
		s = append(s, setting{file: "memory.max", value: strconv.FormatInt(l.Memory, 10)},
			setting{file: "memory.swap.max", value: "0", optional: true})
	}
	if l.PIDs > 0 {
		s = append(s, setting{file: "pids.max", value: strconv.FormatInt(l.PIDs, 10)})
	}
	return s
}

func (m mount) limitsV1(l Limits) []setting {
	var s []setting
	if l.CPUMilli > 0 && m.has("cpu") {
		s = append(s, setting{file: "cpu.cfs_period_us", value: strconv.Itoa(period)},
			setting{file: "cpu.cfs_quota_us", value: strconv.FormatInt(quota(l.CPUMilli), 10)})
	}
	if l.Memory > 0 && m.has("memory") {
		bytes := strconv.FormatInt(l.Memory, 10)
		s = append(s, setting{file: "memory.use_hierarchy", value: "1", optional: true},
			setting{file: "memory.limit_in_bytes", value: bytes},
			setting{file: "memory.memsw.limit_in_bytes", value: bytes, optional: true})
	}
	if l.PIDs > 0 && m.has("pids") {
		s = append(s, setting{file: "pids.max", value: strconv.FormatInt(l.PIDs, 10)})
	}
	return s
}

// quota is at least the kernel's minimum of 1 ms.
func quota(milli int64) int64 { return max(milli*period/1000, 1000) }

func writeAll(dir string, settings []setting) error {
	for _, s := range settings {
		err := os.WriteFile(filepath.Join(dir, s.file), []byte(s.value), 0o644)
		if err != nil && !s.optional {
			return fmt.Errorf("setting %s to %s: %w", s.file, s.value, err)
		}
	}
	return nil
}

// OOMKills counts the processes that the kernel killed for want of memory in the group and all below it.
func (h *Host) OOMKills(group string) (int64, error) {
	var kills int64
	for _, m := range h.mounts {
		dir := filepath.Join(m.path, group)
		switch {
		case h.Unified():
			n, err := field(filepath.Join(dir, "memory.events"), "oom_kill") // counts the groups below, too
			return n, ignoreGone(err)
		case m.has("memory"):
			err := walk(dir, func(group string) error {
				n, err := field(filepath.Join(group, "memory.oom_control"), "oom_kill")
				kills += n
				return ignoreGone(err)
			})
			if err != nil {
				return 0, fmt.Errorf("counting OOM kills of %s: %w", group, err)
			}
		}
	}
	return kills, nil
}

func field(file, key string) (int64, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == key {
			return strconv.ParseInt(f[1], 10, 64)
		}
	}
	return 0, nil
}

// Processes lists the pids in the group and all below it, in any hierarchy.
func (h *Host) Processes(group string) ([]int, error) {
	found := map[int]bool{}
	for _, m := range h.mounts {
		err := walk(filepath.Join(m.path, group), func(dir string) error {
			data, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
			for _, text := range strings.Fields(string(data)) {
				if pid, err := strconv.Atoi(text); err == nil && pid > 0 {
					found[pid] = true
				}
			}
			return ignoreGone(err)
		})
		if err != nil {
			return nil, fmt.Errorf("listing the processes of %s: %w", group, err)
		}
	}
	pids := make([]int, 0, len(found))
	for pid := range found {
		pids = append(pids, pid)
	}
	return pids, nil
}

// Remove deletes the group and all below it, in every hierarchy. Nothing may run in it. Idempotent. A killed process keeps
// its group busy for a moment, so it tries until ctx ends.
func (h *Host) Remove(ctx context.Context, group string) error {
	for _, m := range h.mounts {
		for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
			err := removeTree(filepath.Join(m.path, group))
			if err == nil {
				break
			}
			if !errors.Is(err, unix.EBUSY) {
				return fmt.Errorf("removing control group %s: %w", group, err)
			}
			select {
			case <-ctx.Done():
				return fmt.Errorf("removing control group %s: %w", group, err)
			case <-time.After(pause):
			}
		}
	}
	return nil
}

// Exists says in which hierarchies the group still is; for checks.
func (h *Host) Exists(group string) []string {
	var paths []string
	for _, m := range h.mounts {
		dir := filepath.Join(m.path, group)
		if _, err := os.Stat(dir); err == nil {
			paths = append(paths, dir)
		}
	}
	return paths
}

func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}
