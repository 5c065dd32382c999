package containerd_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	ctrd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"golang.org/x/sys/unix"

	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/agent/sandbox/containerd"
	"github.com/slipway-ci/slipway/agent/sandbox/procid"
)

// aheadLevel names the tests whose pods were made ahead: everything that holds for a pod holds for these.
const aheadLevel = "ahead"

// createAhead makes a pod ahead, and then the job's own of it.
func createAhead(t testing.TB, sb *containerd.Sandbox, spec sandbox.PodSpec) sandbox.Pod {
	t.Helper()
	pod, err := preparing{sb, t}.Create(within(t), spec, nil)
	if err != nil {
		t.Fatal(err)
	}
	return pod
}

// preparing is a sandbox that has made each pod ahead when it is asked for it.
type preparing struct {
	*containerd.Sandbox
	t testing.TB
}

func (p preparing) Create(ctx context.Context, spec sandbox.PodSpec, progress func(string)) (sandbox.Pod, error) {
	p.t.Helper()
	if err := p.Prepare(ctx, spec); err != nil {
		p.t.Errorf("preparing: %v", err)
	}
	before := p.Pool().Taken
	pod, err := p.Sandbox.Create(ctx, spec, progress)
	if err == nil && p.Pool().Taken == before {
		p.t.Error("the pod was not made ahead")
	}
	return pod, err
}

// Open implements sandboxtest.Backend.
func (s shaped) Open(t *testing.T) sandbox.Sandbox {
	if s.ahead {
		return preparing{s.open(t), t}
	}
	return s.open(t)
}

func TestEnvironmentUserMountsAndHosts(t *testing.T) {
	t.Run("made", environment)
	t.Run(aheadLevel, environment)
}

func TestLimits(t *testing.T) {
	t.Run("made", limits)
	t.Run(aheadLevel, limits)
}

// TestMadeAheadLooksTheSame compares what a step sees in a pod that was made for it with one that was made ahead.
func TestMadeAheadLooksTheSame(t *testing.T) {
	h := newHost(t)
	h.cfg.WarmPods = 1
	sb := h.open(t)
	defer sb.Close()
	work := filepath.Join(h.dir, "work")
	for _, dir := range []string{"a", "b", "c/d"} {
		if err := os.MkdirAll(filepath.Join(work, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	spec := sandbox.PodSpec{
		Image: h.image, Egress: true, Env: []string{"A=b"}, User: "tester", Hosts: map[string]string{"db.test": "192.0.2.7"},
		Mounts: []sandbox.Mount{
			{Source: filepath.Join(work, "a"), Target: "/work"}, {Source: filepath.Join(work, "b"), Target: "/work/inner"},
			{Source: filepath.Join(work, "c"), Target: "/fixed", ReadOnly: true},
		},
		Resources: sandbox.Resources{CPUMilli: 1500, Memory: 96 << 20, PIDs: 40},
	}
	look := func(pod sandbox.Pod) string {
		// Mounts by all but their numbers, and what names the pod.
		exit, out := sh(t, h, pod, `cut -d' ' -f4- /proc/self/mountinfo | sed 's/ master:[0-9]*\| shared:[0-9]*//; s/,index=off\|lowerdir=.*//' | sort
			env | sort; id; cat /proc/self/status | grep -E '^(Cap|NoNewPrivs|Seccomp|Uid|Gid|Groups)'; hostname; cat /etc/hosts /etc/hostname /etc/resolv.conf
			ulimit -a; ls -a / /fixed /work; ls -ld /fixed /work /work/inner /.slipway /etc /tmp | cut -c1-50; ip addr show lo; cat /proc/sys/kernel/hostname; cat /proc/1/oom_score_adj /proc/self/oom_score_adj; pwd; umask`)
		if exit.Code != 0 {
			t.Errorf("%s: %+v", pod.ID(), exit)
		}
		out = strings.ReplaceAll(out, pod.ID(), "ID")
		return out
	}
	limitsOf := func(group string) string {
		var b strings.Builder
		for _, f := range []string{
			"memory/GROUP/memory.limit_in_bytes", "memory/GROUP/memory.use_hierarchy", "cpu/GROUP/cpu.cfs_quota_us", "pids/GROUP/pids.max", "pids/GROUP/job/steps/pids.max",
			"GROUP/memory.max", "GROUP/memory.swap.max", "GROUP/cpu.max", "GROUP/pids.max", "GROUP/job/steps/pids.max",
		} {
			data, err := os.ReadFile(filepath.Join("/sys/fs/cgroup", strings.Replace(f, "GROUP", filepath.Join(h.cfg.CgroupParent, group), 1)))
			if err == nil {
				fmt.Fprintf(&b, "%s %s", f, data)
			}
		}
		return b.String()
	}
	var seen, limited [2]string
	for i, id := range []string{"cold", "warm"} {
		spec.ID, spec.Labels = id, map[string]string{"run": "r", "job": "j"}
		group := id
		if id == "warm" {
			if err := sb.Prepare(within(t), spec); err != nil {
				t.Fatal(err)
			}
		}
		pod := create(t, sb, spec)
		var state struct{ Name string }
		if h.podState(t, id, &state); state.Name != "" {
			group = state.Name
		}
		if (id == "warm") != (group != id) {
			t.Errorf("%s is made as %q", id, group)
		}
		seen[i], limited[i] = look(pod), limitsOf(group)
		seen[i] = strings.NewReplacer(id, "ID", group, "ID").Replace(seen[i])
		if got := h.containerLabels(t, id); got["slipway.dev/run"] != "r" || got["slipway.dev/job"] != "j" {
			t.Errorf("%s: labels %v", id, got)
		}
	}
	if seen[0] != seen[1] || len(seen[0]) < 1000 {
		t.Errorf("a step sees\n%s\nin a pod that was made for it, and\n%s\nin one that was made ahead", seen[0], seen[1])
	}
	if limited[0] != limited[1] || !strings.Contains(limited[0], "100663296") {
		t.Errorf("limits\n%s\nand ahead\n%s", limited[0], limited[1])
	}
}

// containerLabels are those of a pod's only container.
func (h *host) containerLabels(t *testing.T, pod string) map[string]string {
	t.Helper()
	client, err := ctrd.New(h.daemon.Socket())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx := namespaces.WithNamespace(within(t), h.cfg.Namespace)
	found, err := client.Containers(ctx, fmt.Sprintf("labels.%q==%q", "slipway.dev/pod", pod))
	if err != nil || len(found) != 1 {
		t.Fatalf("%d containers of %s, %v", len(found), pod, err)
	}
	labels, err := found[0].Labels(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return labels
}

// TestShapesKnowEveryField: who adds a field to PodSpec decides whether a pod that was made ahead can have it (shapeOf, claim).
func TestShapesKnowEveryField(t *testing.T) {
	known := map[string]string{
		"ID": "claim", "Image": "shape", "Container": "means nothing to this sandbox", "Env": "base", "User": "base", "Mounts": "shape and claim",
		"Labels": "claim", "Services": "complete", "StepImages": "complete", "Resources": "claim", "Egress": "shape", "Hosts": "claim", "Isolation": "never ahead", "Auth": "never ahead", "Runtime": "never ahead",
	}
	for f := range reflect.TypeFor[sandbox.PodSpec]().Fields() {
		if known[f.Name] == "" {
			t.Errorf("PodSpec.%s: can a pod that was made ahead have it? Then say here where it gets it; else let shapeOf refuse it", f.Name)
		}
	}
}

// TestMadeAheadIsSpoiled: a job whose pod from the pool turns out to be of no use gets one that is made for it.
func TestMadeAheadIsSpoiled(t *testing.T) {
	h := newHost(t)
	h.cfg.WarmPods = 1
	sb := h.open(t)
	spec := sandbox.PodSpec{ID: "p", Image: h.image}
	if err := sb.Prepare(within(t), spec); err != nil {
		t.Fatal(err)
	}
	client, err := ctrd.New(h.daemon.Socket())
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx := namespaces.WithNamespace(within(t), h.cfg.Namespace)
	records, err := client.ContainerService().List(ctx)
	if err != nil || len(records) != 1 {
		t.Fatalf("%d containers, %v", len(records), err)
	}
	if err := client.ContainerService().Delete(ctx, records[0].ID); err != nil {
		t.Fatal(err)
	}
	if exit, out := sh(t, h, create(t, sb, spec), "hostname"); exit.Code != 0 || out != "p\n" {
		t.Errorf("%+v %s", exit, out)
	}
	if s := sb.Pool(); s.Taken != 1 || s.Ready != 0 {
		t.Errorf("%+v", s)
	}
	if err := sb.Remove(within(t), "p"); err != nil {
		t.Error(err)
	}
	if err := sb.Close(); err != nil {
		t.Error(err)
	}
	for _, leak := range h.Leaks(t) {
		t.Errorf("left behind: %s", leak)
	}
}

// TestMadeAheadDies: a pod that ended while it waited is not given to a job, and is replaced.
func TestMadeAheadDies(t *testing.T) {
	h, sb := opened(t)
	_ = sb.Close()
	h.cfg.WarmPods = 1
	sb = h.open(t)
	defer sb.Close()
	spec := sandbox.PodSpec{ID: "p", Image: h.image}
	if err := sb.Prepare(within(t), spec); err != nil {
		t.Fatal(err)
	}
	groups, err := filepath.Glob("/sys/fs/cgroup/*" + h.cfg.CgroupParent + "/warm-*/job/cgroup.procs")
	if more, _ := filepath.Glob("/sys/fs/cgroup" + h.cfg.CgroupParent + "/warm-*/job/init/cgroup.procs"); err == nil {
		groups = append(groups, more...)
	}
	var pid int
	for _, file := range groups {
		if data, err := os.ReadFile(file); err == nil && len(data) > 0 {
			_, _ = fmt.Sscan(string(data), &pid)
		}
	}
	if pid < 2 {
		t.Fatalf("no init in %q", groups)
	}
	first, err := procid.Of(pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(pid, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for ctx := within(t); first.Alive(); {
		if ctx.Err() != nil {
			t.Fatal("it does not die")
		}
		<-time.After(time.Millisecond)
	}
	if exit, out := sh(t, h, create(t, sb, spec), "hostname"); exit.Code != 0 || out != "p\n" {
		t.Errorf("%+v %s", exit, out)
	}
}
