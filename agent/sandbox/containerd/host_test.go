package containerd_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	ctrd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/agent/sandbox/cgroup"
	"github.com/slipway-ci/slipway/agent/sandbox/containerd"
	"github.com/slipway-ci/slipway/agent/sandbox/containerd/daemon"
	"github.com/slipway-ci/slipway/agent/sandbox/network"
	"github.com/slipway-ci/slipway/agent/sandbox/sandboxtest"
	"github.com/slipway-ci/slipway/internal/testimage"
)

// host is a private containerd with a registry, for one test.
type host struct {
	dir      string
	daemon   *daemon.Daemon
	registry *testimage.Registry
	image    string
	cfg      containerd.Config
}

var hosts atomic.Int32

// needRealContainers skips loudly: `make test` installs what is missing, so a skip there is a fault of its set-up.
func needRealContainers(t testing.TB) {
	t.Helper()
	if err := daemon.Available(); err != nil {
		t.Skipf("SKIPPED: NO REAL CONTAINERS ARE TESTED: %v", err)
	}
	if _, err := os.Stat(testimage.Busybox); err != nil {
		t.Skipf("SKIPPED: NO REAL CONTAINERS ARE TESTED: %v", testimage.ErrNoBusybox)
	}
}

func newHost(t testing.TB) *host {
	t.Helper()
	needRealContainers(t)
	dir, err := os.MkdirTemp("", "slw") // short: a socket's path has a limit
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil { // below it lie root file systems of pods whose root is not the host's
		t.Fatal(err)
	}
	ctx := context.Background()
	d, err := daemon.Start(ctx, daemon.Config{Dir: filepath.Join(dir, "c")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	n := hosts.Add(1)
	name := fmt.Sprintf("slwt%d-%d", os.Getpid()%10000, n)
	h := &host{dir: dir, daemon: d, registry: testimage.NewRegistry(t)}
	h.image = h.registry.Push(t, "busybox", testimage.Image{})
	h.cfg = containerd.Config{
		Socket: d.Socket(), Namespace: name, Dir: filepath.Join(dir, "s"), CgroupParent: "/" + name,
		Registries: map[string]containerd.Registry{h.registry.Host(): {PlainHTTP: true}},
		Network:    network.Config{Bridge: name, Subnet: fmt.Sprintf("10.%d.%d.0/24", 100+n, os.Getpid()%250), Pool: 2},
		MountDir:   filepath.Join(dir, "m"),
		StepsDir:   filepath.Join(dir, "r"),
		Log:        slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	if strings.Contains(t.Name(), "/"+aheadLevel) {
		h.cfg.WarmPods = 1
	}
	t.Cleanup(func() { h.uninstall(t) })
	return h
}

func (h *host) uninstall(t testing.TB) {
	sb, err := containerd.New(context.Background(), h.cfg)
	if err != nil {
		t.Error(err)
		return
	}
	ids, err := sb.List(context.Background())
	if err != nil {
		t.Error(err)
	}
	for _, id := range ids {
		if err := sb.Remove(context.Background(), id); err != nil {
			t.Error(err)
		}
	}
	if err := sb.Close(); err != nil {
		t.Error(err)
	}
	if err := sb.Uninstall(context.Background()); err != nil {
		t.Error(err)
	}
}

func (h *host) open(t testing.TB) *containerd.Sandbox {
	t.Helper()
	sb, err := containerd.New(context.Background(), h.cfg)
	if err != nil {
		t.Fatal(err)
	}
	return sb
}

// Open implements sandboxtest.Backend.
func (h *host) Open(t *testing.T) sandbox.Sandbox { return h.open(t) }

// Image implements sandboxtest.Backend.
func (h *host) Image() string { return h.image }

// Service implements sandboxtest.Backend.
func (h *host) Service(kind sandboxtest.ServiceKind) sandbox.Service {
	shell := func(name, script, health string) sandbox.Service {
		return sandbox.Service{
			Name: name, Image: h.image, Command: []string{"sh", "-c", script},
			Health: &sandbox.Health{Command: []string{health}, Interval: 200 * time.Millisecond, Timeout: 5 * time.Second, Retries: 3},
		}
	}
	switch kind {
	case sandboxtest.Dying:
		return shell("dying", "echo no space for data >&2; sleep 0.2; exit 3", "false")
	case sandboxtest.Sick:
		return shell("sick", "exec sleep 3600", "echo probing; false")
	default:
		s := shell("healthy", "sleep 0.2; touch /tmp/up; exec sleep 3600", "test -f /tmp/up")
		s.Health.Interval = 30 * time.Second // found much sooner all the same
		return s
	}
}

// KillPod implements sandboxtest.Backend.
func (h *host) KillPod(t *testing.T, id string) {
	t.Helper()
	var state struct {
		Init struct {
			PID int `json:"pid"`
		} `json:"init"`
	}
	h.podState(t, id, &state)
	if state.Init.PID < 2 {
		t.Fatalf("the pod's init: %d", state.Init.PID)
	}
	if err := unix.Kill(state.Init.PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// podState reads a pod's state file into a part of it.
func (h *host) podState(t *testing.T, id string, part any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(h.cfg.Dir, "pods", id, "pod.json"))
	if err == nil {
		err = json.Unmarshal(data, part)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Leaks implements sandboxtest.Backend: it waits a little for what the kernel and the shims take apart by themselves.
func (h *host) Leaks(t *testing.T) []string {
	t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for {
		leaks := h.look(t)
		if len(leaks) == 0 || time.Now().After(deadline) {
			return leaks
		}
		<-time.After(50 * time.Millisecond)
	}
}

func (h *host) look(t *testing.T) (leaks []string) {
	t.Helper()
	note := func(err error, what string, names ...string) {
		if err != nil {
			t.Fatalf("looking for %s: %v", what, err)
		}
		for _, n := range names {
			leaks = append(leaks, what+" "+n)
		}
	}
	ctx := namespaces.WithNamespace(context.Background(), h.cfg.Namespace)
	client, err := ctrd.New(h.daemon.Socket())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	containers, err := client.Containers(ctx)
	for _, c := range containers {
		note(nil, "container", c.ID())
	}
	note(err, "containers")
	note(client.SnapshotService("overlayfs").Walk(ctx, func(_ context.Context, i snapshots.Info) error {
		if i.Kind != snapshots.KindCommitted {
			note(nil, "snapshot", i.Name)
		}
		return nil
	}), "snapshots")
	bundles, _ := filepath.Glob(filepath.Join(h.dir, "c/state/io.containerd.runtime.v2.task", h.cfg.Namespace, "*"))
	note(nil, "task", bundles...)
	pins, err := filepath.Glob(filepath.Join(h.cfg.Dir, "network/ns/*"))
	note(err, "network namespace", pins...)
	addresses, err := filepath.Glob(filepath.Join(h.cfg.Dir, "network/ipam/*/10.*"))
	note(err, "address", addresses...)
	groups, err := cgroup.Detect()
	note(err, "control groups")
	for _, parent := range groups.Exists(h.cfg.CgroupParent) {
		entries, err := os.ReadDir(parent)
		note(err, "control groups")
		for _, e := range entries {
			if e.IsDir() {
				note(nil, "control group", filepath.Join(parent, e.Name()))
			}
		}
	}
	note(nil, "mount", mountsBelow(t, h.dir)...)
	mountDirs, _ := filepath.Glob(filepath.Join(h.cfg.MountDir, "*"))
	note(nil, "directory of mounts", mountDirs...)
	note(nil, "bridge port", ports(h.cfg.Network.Bridge)...)
	shims, _ := exec.Command("sh", "-c", "ps -eo pid,args | grep '[c]ontainerd-shim.*-namespace "+h.cfg.Namespace+" '").Output()
	for line := range strings.Lines(string(shims)) {
		note(nil, "shim", strings.TrimSpace(line))
	}
	dirs, err := filepath.Glob(filepath.Join(h.cfg.Dir, "pods/*"))
	note(err, "pod directory", dirs...)
	dirs, err = filepath.Glob(filepath.Join(h.cfg.StepsDir, "*"))
	note(err, "records of steps", dirs...)
	return leaks
}

func mountsBelow(t *testing.T, dir string) []string {
	t.Helper()
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var found []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if fields := strings.Fields(lines.Text()); strings.HasPrefix(fields[4], dir+"/") {
			found = append(found, fields[4])
		}
	}
	return found
}

func ports(bridge string) []string {
	br, err := netlink.LinkByName(bridge)
	if err != nil {
		return nil
	}
	links, err := netlink.LinkList()
	if err != nil {
		return []string{err.Error()}
	}
	var names []string
	for _, l := range links {
		if l.Attrs().MasterIndex == br.Attrs().Index {
			names = append(names, l.Attrs().Name)
		}
	}
	return slices.Clip(names)
}

// healthcheck is an image's, in Docker's terms.
func healthcheck(test ...string) *v1.HealthConfig {
	return &v1.HealthConfig{Test: test, Interval: time.Minute, Retries: 2}
}
