package supervisor

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/slipway-ci/slipway/agent/sandbox/cgroup"
)

// unified is where cgroup2 is mounted; also a hybrid host, whose controllers are v1's, has it.
func unified(t *testing.T) string {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); strings.Contains(lines.Text(), " - cgroup2 ") && fields[3] == "/" {
			return fields[4]
		}
	}
	t.Skip("SKIPPED: CLONE_INTO_CGROUP IS NOT TESTED: no cgroup2 is mounted")
	return ""
}

func TestForkIntoUnifiedGroup(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: CLONE_INTO_CGROUP IS NOT TESTED: needs root")
	}
	name := fmt.Sprintf("slwsup%d", os.Getpid())
	path := filepath.Join(unified(t), name)
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(path)
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	procs, err := os.Open(filepath.Join(path, "cgroup.procs"))
	if err != nil {
		t.Fatal(err)
	}
	g := newGroup([]string{cgroup.Dir, cgroup.Procs}, []*os.File{os.NewFile(uintptr(fd), "group"), procs})
	defer g.close()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	pid, err := g.fork(&command{path: "/bin/sh", argv: []string{"sh", "-c", "cat /proc/self/cgroup; read x"}}, &syscall.ProcAttr{
		Files: []uintptr{r.Fd(), w.Fd(), w.Fd()}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	if pids, ok := g.members(); !ok || len(pids) == 0 || pids[0] != pid {
		t.Errorf("members %v, %v; want %d", pids, ok, pid)
	}
	if err := syscall.Kill(-pid, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil {
		t.Error(err)
	}
}

func TestUnknownPurposesAreClosed(t *testing.T) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	g := newGroup([]string{"of-a-later-version"}, []*os.File{f})
	if _, ok := g.members(); ok {
		t.Error("a group without a list has members")
	}
	if _, err := f.Stat(); err == nil {
		t.Error("a descriptor was kept open")
	}
	g.close()
}

func TestCounter(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "events"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("low 9\nmax 3\n"); err != nil {
		t.Fatal(err)
	}
	c := newCounter(f, "max")
	if n := c.read(); n != 0 {
		t.Errorf("counted %d from before", n)
	}
	if _, err := f.WriteAt([]byte("low 9\nmax 5\n"), 0); err != nil {
		t.Fatal(err)
	}
	if n := c.read(); n != 2 {
		t.Errorf("counted %d, want 2", n)
	}
}

// TestThrowawayThread: what a function does to its thread reaches no other goroutine, and never the first thread.
func TestThrowawayThread(t *testing.T) {
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			onThrowawayThread(func() {
				if unix.Gettid() == os.Getpid() {
					t.Error("on the first thread")
				}
				if err := unix.Unshare(unix.CLONE_FS); err != nil {
					t.Error(err)
				}
				_ = unix.Chdir("/proc")
			})
		})
	}
	wg.Wait()
	for range 100 {
		wg.Go(func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			if dir, err := os.Readlink("/proc/thread-self/cwd"); err != nil || dir == "/proc" {
				t.Errorf("another thread's directory is %s, %v", dir, err)
			}
		})
	}
	wg.Wait()
}
