package cgroup

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const hybrid = `20 25 0:18 / /sys rw - sysfs sysfs rw
30 20 0:25 / /sys/fs/cgroup rw - tmpfs tmpfs rw
31 30 0:26 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
32 30 0:27 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
33 30 0:28 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids
34 30 0:29 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
35 30 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
36 30 0:27 /docker/x /mnt/elsewhere rw - cgroup cgroup rw,memory
`

func TestParse(t *testing.T) {
	h, err := parse(strings.NewReader(hybrid))
	if err != nil {
		t.Fatal(err)
	}
	if h.Unified() || len(h.mounts) != 5 {
		t.Errorf("hybrid: unified %v, %d mounts", h.Unified(), len(h.mounts))
	}
	h, err = parse(strings.NewReader("30 20 0:25 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n"))
	if err != nil || !h.Unified() {
		t.Errorf("v2: %v", err)
	}
	if _, err := parse(strings.NewReader("")); err == nil {
		t.Error("no control groups are no error")
	}
}

// TestUnifiedFiles runs on a directory that looks like cgroup v2, as the test host may have v1 only.
func TestUnifiedFiles(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"", "/a", "/a/b"} {
		if err := os.MkdirAll(root+dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, content := range map[string]string{
			"cgroup.controllers": "cpuset cpu io memory pids", "cgroup.procs": "", "memory.events": "low 0\noom 3\noom_kill 2\n",
		} {
			if err := os.WriteFile(filepath.Join(root+dir, name), []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	h := &Host{mounts: []mount{{path: root, v2: true}}}
	if err := h.Create("/a/b", Limits{CPUMilli: 1500, Memory: 1 << 20, PIDs: 7}); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		"cpu.max": "150000 100000", "memory.max": "1048576", "memory.swap.max": "0", "pids.max": "7",
	} {
		if got, err := os.ReadFile(filepath.Join(root, "a/b", file)); err != nil || string(got) != want {
			t.Errorf("%s is %q, %v; want %q", file, got, err, want)
		}
	}
	if got, err := os.ReadFile(filepath.Join(root, "a/cgroup.subtree_control")); err != nil || string(got) == "" {
		t.Errorf("controllers are not delegated: %q, %v", got, err)
	}
	if kills, err := h.OOMKills("/a/b"); err != nil || kills != 2 {
		t.Errorf("OOM kills %d, %v", kills, err)
	}
	if kills, err := h.OOMKills("/gone"); err != nil || kills != 0 {
		t.Errorf("OOM kills of no group %d, %v", kills, err)
	}
}

func TestRealGroup(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: NO REAL CONTROL GROUP IS TESTED: needs root")
	}
	h, err := Detect()
	if err != nil {
		t.Fatal(err)
	}
	group := fmt.Sprintf("/slwcg%d/pod", os.Getpid())
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for range 2 {
		if err := h.Create(group, Limits{CPUMilli: 100, Memory: 32 << 20, PIDs: 5}); err != nil {
			t.Fatal(err)
		}
	}
	sleeper := exec.Command("sleep", "600")
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = sleeper.Wait() }()
	for _, dir := range h.Exists(group) {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), fmt.Append(nil, sleeper.Process.Pid), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if pids, err := h.Processes(group); err != nil || len(pids) != 1 || pids[0] != sleeper.Process.Pid {
		t.Errorf("processes %v, %v", pids, err)
	}
	short, stop := context.WithTimeout(ctx, 20*time.Millisecond)
	defer stop()
	if err := h.Remove(short, group); err == nil {
		t.Error("a group with a process was removed")
	}
	if err := h.Kill(ctx, group); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := h.Remove(ctx, filepath.Dir(group)); err != nil {
			t.Error(err)
		}
	}
	if left := h.Exists(filepath.Dir(group)); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if err := h.Kill(ctx, group); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Errorf("kill of nothing: %v", err)
	}
}
