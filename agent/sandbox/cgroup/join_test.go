package cgroup

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// In a tree of which only the lower part is this user's, nothing above it is written: that would be refused.
func TestADelegatedTree(t *testing.T) {
	root := t.TempDir()
	const enabled = "cpuset cpu memory pids"
	for dir, control := range map[string]string{"": enabled, "system.slice": enabled, "system.slice/agent.service": "", "system.slice/agent.service/pods": ""} {
		dir = filepath.Join(root, dir)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{"cgroup.controllers": enabled, "cgroup.subtree_control": control} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	h := &Host{mounts: []mount{{path: root, v2: true}}}
	if err := h.Create("/system.slice/agent.service/pods/p1", Limits{}); err != nil {
		t.Fatal(err)
	}
	for dir, own := range map[string]bool{"": false, "system.slice": false, "system.slice/agent.service": true, "system.slice/agent.service/pods": true} {
		got, err := os.ReadFile(filepath.Join(root, dir, "cgroup.subtree_control"))
		if err != nil || own == (string(got) == enabled) || len(got) == 0 {
			t.Errorf("%q: %q, %v", dir, got, err)
		}
	}
	if err := h.Join("/system.slice/agent.service/pods/p1", 7); err != nil {
		t.Error(err)
	}
	if got, err := os.ReadFile(filepath.Join(root, "system.slice/agent.service/pods/p1/cgroup.procs")); err != nil || string(got) != "7" {
		t.Errorf("joined %q, %v", got, err)
	}
	if err := h.Join("/system.slice/nobodys", 7); err == nil {
		t.Error("joined a group that does not exist")
	}
}

func TestJoinReal(t *testing.T) {
	h, err := Detect()
	if err != nil {
		t.Skip(err)
	}
	group := fmt.Sprintf("/slipway-join-%d", os.Getpid())
	if err := h.Create(group, Limits{}); err != nil {
		t.Skip("no control group can be made here: ", err)
	}
	t.Cleanup(func() {
		if err := h.Remove(context.Background(), group); err != nil {
			t.Error(err)
		}
	})
	sleep, err := os.StartProcess("/bin/sleep", []string{"sleep", "60"}, &os.ProcAttr{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = sleep.Wait() }()
	if err := h.Join(group, sleep.Pid); err != nil {
		t.Error(err)
	}
	if pids, err := h.Processes(group); err != nil || len(pids) != 1 || pids[0] != sleep.Pid {
		t.Errorf("in the group: %v, %v, want %d", pids, err, sleep.Pid)
	}
	if err := h.Kill(t.Context(), group); err != nil {
		t.Error(err)
	}
}
