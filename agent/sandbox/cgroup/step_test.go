package cgroup

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
)

// TestUnifiedSteps runs on a directory that looks like cgroup v2.
func TestUnifiedSteps(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"", "/pod", "/pod/job", "/pod/job/init", "/pod/job/steps", "/pod/job/steps/s1"} {
		if err := os.MkdirAll(root+dir, 0o755); err != nil {
			t.Fatal(err)
		}
		for name, content := range map[string]string{
			"cgroup.controllers": "cpu memory pids", "cgroup.procs": "", "memory.events": "oom_kill 2\n", "pids.events": "max 4\n", "pids.max": "max",
		} {
			if err := os.WriteFile(filepath.Join(root+dir, name), []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	h := &Host{mounts: []mount{{path: root, v2: true}}}
	if err := h.Divide("/pod/job", 4321, Limits{PIDs: 9}); err != nil {
		t.Fatal(err)
	}
	e, err := h.Enter("/pod/job", "s1", Limits{Memory: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	purposes, files := e.Files()
	if want := []string{Dir, Procs, PIDsMax, PIDsEvents, MemoryEvents}; !slices.Equal(purposes, want) || len(files) != len(want) {
		t.Errorf("descriptors for %q", purposes)
	}
	for file, want := range map[string]string{
		"pod/job/init/cgroup.procs": "4321", "pod/job/steps/pids.max": "9", "pod/job/steps/s1/memory.max": "1048576", "pod/job/steps/s1/pids.max": "max",
	} {
		if got, err := os.ReadFile(filepath.Join(root, file)); err != nil || string(got) != want {
			t.Errorf("%s is %q, %v; want %q", file, got, err, want)
		}
	}
	for _, dir := range []string{"", "pod", "pod/job", "pod/job/steps"} {
		if got, err := os.ReadFile(filepath.Join(root, dir, "cgroup.subtree_control")); err != nil || len(got) == 0 {
			t.Errorf("%q has no controllers for the groups below: %v", dir, err)
		}
	}
	if got, err := os.ReadFile(filepath.Join(root, "pod/job/steps/s1/cgroup.subtree_control")); err == nil {
		t.Errorf("a step's group, which has processes, has controllers for others: %q", got)
	}
}

func TestRealSteps(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: NO REAL CONTROL GROUP IS TESTED: needs root")
	}
	h, err := Detect()
	if err != nil {
		t.Fatal(err)
	}
	group := fmt.Sprintf("/slwst%d", os.Getpid())
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	t.Cleanup(func() {
		if err := h.Remove(context.Background(), group); err != nil {
			t.Error(err)
		}
	})
	if err := h.Create(group+"/job", Limits{}); err != nil {
		t.Fatal(err)
	}
	if h.Unified() {
		t.Skip("SKIPPED: on a host with cgroup v2 the tests of the containerd sandbox cover this")
	}
	if err := h.Divide(group+"/job", os.Getpid(), Limits{PIDs: 100}); err != nil {
		t.Fatal(err)
	}
	e, err := h.Enter(group+"/job", "s1", Limits{PIDs: 3, Memory: 32 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	sleeper := exec.Command("sleep", "600")
	sleeper.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	for _, f := range e {
		if f.Purpose == Tasks {
			if _, err := f.WriteAt(fmt.Append(nil, sleeper.Process.Pid), 0); err != nil {
				t.Fatal(err)
			}
		}
	}
	if left, err := h.Left(group + "/job"); err != nil || left["s1"] != 1 || len(left) != 1 {
		t.Errorf("left %v, %v", left, err)
	}
	if err := h.Leave(group+"/job", "s1"); err != nil {
		t.Error(err)
	}
	if len(h.Exists(StepGroup(group+"/job", "s1"))) == 0 {
		t.Error("a group with a process was removed")
	}
	if err := h.Kill(ctx, group); err != nil {
		t.Error(err)
	}
	_ = sleeper.Wait()
	for range 2 {
		if err := h.Leave(group+"/job", "s1"); err != nil {
			t.Error(err)
		}
	}
	if left := h.Exists(StepGroup(group+"/job", "s1")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
