package process_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/agent/sandbox/cgroup"
	"github.com/slipway-ci/slipway/agent/sandbox/process"
	"github.com/slipway-ci/slipway/agent/sandbox/sandboxtest"
	"github.com/slipway-ci/slipway/agent/supervisor/embedded"
)

func TestMain(m *testing.M) {
	if os.Getenv(agentDir) != "" {
		beAgent()
	}
	goleak.VerifyTestMain(m)
}

// host is a directory on this machine, with or without control groups.
type host struct {
	cfg process.Config
}

// newHost skips where there is no supervisor, or control groups are wanted and can't be made.
func newHost(t *testing.T, grouped bool) *host {
	t.Helper()
	if _, err := embedded.Binary(); err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	h := &host{process.Config{Dir: filepath.Join(dir, "sandbox"), Log: slog.New(slog.NewTextHandler(t.Output(), nil))}}
	if !grouped {
		h.cfg.CgroupParent = process.NoGroups
		return h
	}
	h.cfg.CgroupParent = fmt.Sprintf("/slipway-test-%d", os.Getpid())
	sb, err := process.New(context.Background(), h.cfg)
	if err != nil {
		t.Skip("control groups can't be made here: ", err)
	}
	if err := sb.Close(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		sb := h.open(t)
		if err := sb.Close(); err != nil {
			t.Error(err)
		}
		if err := sb.Uninstall(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return h
}

func (h *host) open(t *testing.T) *process.Sandbox {
	t.Helper()
	sb, err := process.New(context.Background(), h.cfg)
	if err != nil {
		t.Fatal(err)
	}
	return sb
}

// Open implements sandboxtest.Backend.
func (h *host) Open(t *testing.T) sandbox.Sandbox { return h.open(t) }

// Image implements sandboxtest.Backend.
func (h *host) Image() string { return "ignored@sha256:0" }

// Unsupported implements sandboxtest.Limited.
func (h *host) Unsupported() []sandboxtest.Capability {
	return []sandboxtest.Capability{sandboxtest.Services, sandboxtest.Images, sandboxtest.NoEgress}
}

// Service implements sandboxtest.Backend.
func (h *host) Service(sandboxtest.ServiceKind) sandbox.Service {
	return sandbox.Service{Name: "db", Image: "ignored@sha256:1"}
}

// KillPod implements sandboxtest.Backend.
func (h *host) KillPod(t *testing.T, id string) {
	t.Helper()
	var state struct {
		Init struct {
			PID int `json:"pid"`
		} `json:"init"`
	}
	data, err := os.ReadFile(filepath.Join(h.cfg.Dir, "pods", id, "pod.json"))
	if err == nil {
		err = json.Unmarshal(data, &state)
	}
	if err != nil || state.Init.PID < 2 {
		t.Fatalf("the pod's supervisor: %d, %v", state.Init.PID, err)
	}
	if err := unix.Kill(state.Init.PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// Leaks implements sandboxtest.Backend: it waits a little for what the kernel takes apart by itself.
func (h *host) Leaks(t *testing.T) []string {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		leaks := h.look(t)
		if len(leaks) == 0 || time.Now().After(deadline) {
			return leaks
		}
		<-time.After(20 * time.Millisecond)
	}
}

// look finds processes by the directory's name in what /proc shows, and not by the way that the sandbox does.
func (h *host) look(t *testing.T) (leaks []string) {
	t.Helper()
	pods, err := os.ReadDir(filepath.Join(h.cfg.Dir, "pods"))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pods {
		leaks = append(leaks, "pod directory "+p.Name())
	}
	procs, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range procs {
		if filepath.Base(dir) == strconv.Itoa(os.Getpid()) {
			continue
		}
		env, _ := os.ReadFile(filepath.Join(dir, "environ"))
		argv, _ := os.ReadFile(filepath.Join(dir, "cmdline"))
		cwd, _ := os.Readlink(filepath.Join(dir, "cwd"))
		if all := bytes.Join([][]byte{env, argv, []byte(cwd)}, nil); bytes.Contains(all, []byte(h.cfg.Dir)) {
			leaks = append(leaks, fmt.Sprintf("process %s: %s", filepath.Base(dir), bytes.ReplaceAll(argv, []byte{0}, []byte(" "))))
		}
	}
	groups, err := cgroup.Detect()
	if err != nil || h.cfg.CgroupParent == process.NoGroups {
		return leaks
	}
	for _, parent := range groups.Exists(h.cfg.CgroupParent) {
		entries, err := os.ReadDir(parent)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.IsDir() {
				leaks = append(leaks, "control group "+filepath.Join(parent, e.Name()))
			}
		}
	}
	return leaks
}

func TestSuiteWithControlGroups(t *testing.T) { sandboxtest.Run(t, newHost(t, true)) }

func TestSuiteWithoutControlGroups(t *testing.T) { sandboxtest.Run(t, newHost(t, false)) }
