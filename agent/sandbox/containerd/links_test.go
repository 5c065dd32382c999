package containerd_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/agent/workspace"
)

// TestHostileLinks: what a step leaves in a directory that the agent reads leads the agent nowhere else: the host's files, its
// processes, its devices.
func TestHostileLinks(t *testing.T) {
	h, sb := opened(t)
	work := filepath.Join(h.dir, "work")
	secret := filepath.Join(h.dir, "secret")
	if err := os.MkdirAll(work, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(secret, []byte("of the host"), 0o600); err != nil {
		t.Fatal(err)
	}
	pod := create(t, sb, sandbox.PodSpec{ID: "p", Image: h.image, Mounts: []sandbox.Mount{{Source: work, Target: "/work"}}})
	exit, out := sh(t, h, pod, strings.ReplaceAll(`cd /work; echo fine >regular; ln -s regular inside
		ln -s SECRET absolute; ln -s ../secret relative; ln -s .. up; ln -s / root; ln -s /proc/self/environ process
		mkdir dir; ln -s ../../secret dir/deep; ln -s loop loop; busybox mkfifo pipe; busybox mknod zero c 1 5; busybox mknod disk b 254 0
		mkdir folder; ln /etc/passwd hard 2>/dev/null; true`, "SECRET", secret))
	if exit.Code != 0 {
		t.Fatalf("%+v %s", exit, out)
	}
	root, err := os.OpenRoot(work)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	for _, name := range []string{"regular", "inside"} {
		if data, err := workspace.ReadLimited(root, name, 100); err != nil || string(data) != "fine\n" {
			t.Errorf("%s: %q, %v", name, data, err)
		}
	}
	for _, name := range []string{
		"absolute", "relative", "up/secret", "root" + secret, "process", "dir/deep", "loop", "pipe", "zero", "disk", "folder", "hard", "../secret",
	} {
		if data, err := workspace.ReadLimited(root, name, 1<<20); err == nil && len(data) > 0 {
			t.Errorf("%s led to %d bytes: %.40q", name, len(data), data)
		}
	}
	if err := os.RemoveAll(work); err != nil {
		t.Error(err)
	}
	if data, err := os.ReadFile(secret); err != nil || string(data) != "of the host" {
		t.Errorf("the host's file: %q, %v", data, err)
	}
}
