package cgroup

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestOwn on a directory that looks like cgroup v2: only the list of processes changes hands.
func TestOwn(t *testing.T) {
	root := t.TempDir()
	for _, name := range []string{"cgroup.procs", "pids.max"} {
		if err := os.WriteFile(filepath.Join(root, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	if err := (&Host{mounts: []mount{{path: root, v2: true}}}).Own("/", 12345); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]uint32{"cgroup.procs": 12345, "pids.max": 0} {
		var st syscall.Stat_t
		if err := syscall.Stat(filepath.Join(root, name), &st); err != nil || st.Uid != want {
			t.Errorf("%s is %d's, %v", name, st.Uid, err)
		}
	}
	v1 := &Host{mounts: []mount{{path: root, controllers: []string{"pids"}}}}
	if err := v1.Own("/no/such/group", 1); err != nil {
		t.Errorf("v1 has nothing to do: %v", err)
	}
}
