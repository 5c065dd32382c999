package containerd_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/agent/sandbox/containerd"
	"github.com/slipway-ci/slipway/internal/testimage"
)

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// create makes a pod; the host's clean-up removes it.
func create(t testing.TB, sb *containerd.Sandbox, spec sandbox.PodSpec) sandbox.Pod {
	t.Helper()
	pod, err := sb.Create(within(t), spec, nil)
	if err != nil {
		t.Fatal(err)
	}
	return pod
}

var steps struct {
	sync.Mutex
	n int
}

// sh runs a script as a step and returns how it ended and what it said.
func sh(t testing.TB, h *host, pod sandbox.Pod, script string, change ...func(*sandbox.StepSpec)) (sandbox.Exit, string) {
	t.Helper()
	steps.Lock()
	steps.n++
	id := fmt.Sprintf("step%d", steps.n)
	steps.Unlock()
	spec := sandbox.StepSpec{ID: id, Argv: []string{"sh", "-c", script}, Output: filepath.Join(h.dir, id+".log")}
	for _, f := range change {
		f(&spec)
	}
	if err := pod.Start(within(t), spec); err != nil {
		t.Fatal(err)
	}
	exit, err := pod.Wait(within(t), id)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(spec.Output)
	if err != nil {
		t.Fatal(err)
	}
	return exit, string(data)
}

func opened(t *testing.T) (*host, *containerd.Sandbox) {
	h := newHost(t)
	sb := h.open(t)
	t.Cleanup(func() {
		if err := sb.Close(); err != nil {
			t.Error(err)
		}
	})
	return h, sb
}

func TestContainerIsConfined(t *testing.T) {
	h, sb := opened(t)
	pod := create(t, sb, sandbox.PodSpec{ID: "p", Image: h.image})
	_, status := sh(t, h, pod, "cat /proc/self/status")
	for _, line := range []string{"NoNewPrivs:\t1", "Seccomp:\t2", "Seccomp_filters:\t1", "CapBnd:\t00000000a80425fb", "CapEff:\t00000000a80425fb"} {
		if !strings.Contains(status, line) {
			t.Errorf("/proc/self/status has no %q:\n%s", line, status)
		}
	}
	for what, script := range map[string]string{
		"the supervisor's environment can be read":   "cat /proc/1/environ",
		"the supervisor's descriptors can be read":   "cat /proc/1/fd/3",
		"the supervisor's memory can be read":        "head -c 1 /proc/1/mem",
		"a file system can be mounted":               "mount -t tmpfs none /tmp",
		"the control groups are writable":            "cd /sys/fs/cgroup; if test -d memory; then mkdir memory/x; else mkdir x; fi",
		"kernel settings are writable":               "echo 1 > /proc/sys/kernel/panic",
		"the supervisor's binary is writable":        "touch /.slipway/supervisor",
		"the agent's socket directory is writable":   "rm /.slipway/run/agent.sock",
		"the host's processes are visible":           "test $(ls /proc | grep -c '^[0-9]') -gt 20",
		"the network's interfaces are more than lo":  "ip link | grep -v LOOPBACK | grep -q '^[0-9]'",
		"kernel memory has a size":                   "test -s /proc/kcore",
		"a step can outrank the supervisor's safety": "echo -500 > /proc/self/oom_score_adj",
	} {
		if exit, out := sh(t, h, pod, script); exit.Code == 0 {
			t.Errorf("%s: %q succeeded: %s", what, script, out)
		}
	}
	// The supervisor's score is restored a moment after the step has begun.
	if _, out := sh(t, h, pod, "until grep -qx 0 /proc/1/oom_score_adj; do sleep 0.01; done; cat /proc/1/oom_score_adj /proc/self/oom_score_adj"); out != "0\n100\n" {
		t.Errorf("OOM scores of supervisor and step: %q", out)
	}
}

func environment(t *testing.T) {
	h := newHost(t)
	bundle := filepath.Join(h.dir, "ca.pem")
	work := filepath.Join(h.dir, "work")
	for path, text := range map[string]string{bundle: "CA\n", filepath.Join(work, "in"): "data\n"} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	h.cfg.CABundle, h.cfg.PassEnv = bundle, []string{"HTTPS_PROXY=http://proxy:3128", "FROM_IMAGE=no"}
	sb := h.open(t)
	t.Cleanup(func() { _ = sb.Close() })
	pod := create(t, sb, sandbox.PodSpec{
		ID: "p", Image: h.image, User: "tester", Env: []string{"A=pod", "B=pod"}, Hosts: map[string]string{"db.test": "192.0.2.7"},
		Mounts: []sandbox.Mount{{Source: work, Target: "/work"}, {Source: work, Target: "/fixed", ReadOnly: true}},
	})
	exit, out := sh(t, h, pod, `id -u; id -G; echo $A $B $FROM_IMAGE $HTTPS_PROXY $HOME; cat $SSL_CERT_FILE; pwd; cat in; `+
		`touch /fixed/x 2>/dev/null || echo readonly; grep -w db.test /etc/hosts; hostname`, func(s *sandbox.StepSpec) {
		s.Dir, s.Env = "/work", []string{"B=step"}
	})
	want := "1000\n1000 2000\npod step yes http://proxy:3128 /home/tester\nCA\n/work\ndata\nreadonly\n192.0.2.7\tdb.test\np\n"
	if exit.Code != 0 || out != want {
		t.Errorf("exit %+v, output %q, want %q", exit, out, want)
	}
	if _, out := sh(t, h, pod, "id -u; id -g", func(s *sandbox.StepSpec) { s.User = "12:34" }); out != "12\n34\n" {
		t.Errorf("user 12:34 is %q", out)
	}
	if exit, _ := sh(t, h, pod, "true", func(s *sandbox.StepSpec) { s.User = "ghost" }); exit.Code != 126 {
		t.Errorf("unknown user: %+v", exit)
	}
}

func limits(t *testing.T) {
	h, sb := opened(t)
	pod := create(t, sb, sandbox.PodSpec{
		ID: "p", Image: h.image, Resources: sandbox.Resources{CPUMilli: 500, Memory: 64 << 20, PIDs: 30},
	})
	if exit, out := sh(t, h, pod, "tail /dev/zero"); !exit.OOMKilled || exit.Code != 137 {
		t.Errorf("out of memory: %+v %s", exit, out)
	}
	if exit, out := sh(t, h, pod, "echo alive"); exit.Code != 0 || exit.OOMKilled {
		t.Errorf("after it: %+v %s", exit, out)
	}
	quota := filepath.Join("/sys/fs/cgroup/cpu", h.cfg.CgroupParent, "p/cpu.cfs_quota_us")
	if data, err := os.ReadFile(quota); err == nil && string(data) != "50000\n" {
		t.Errorf("CPU quota %s", data)
	}
	// Last: what a step leaves behind lives on and fills the pod.
	if exit, out := sh(t, h, pod, "for i in $(seq 60); do sleep 60 & done; wait"); exit.Code == 0 {
		t.Errorf("60 processes in a pod with 30: %s", out)
	}
}

func TestServicesAreReachable(t *testing.T) {
	h, sb := opened(t)
	web := h.registry.Push(t, "web", func() (img testimage.Image) {
		img.Files = map[string]string{"www/index.html": "hello\n"}
		img.Config.Env = []string{"PATH=/bin", "ROOT=/www"}
		img.Config.Entrypoint = []string{"sh", "-c"}
		img.Config.Cmd = []string{`cd $ROOT && id -u > uid; exec httpd -f -p 8080`}
		img.Config.Healthcheck = healthcheck("CMD-SHELL", "wget -q -O /dev/null http://localhost:8080/")
		return img
	}())
	var said []string
	pod, err := sb.Create(within(t), sandbox.PodSpec{
		ID: "p", Image: h.image,
		Services: []sandbox.Service{{Name: "web", Image: web, Ports: []sandbox.Port{{Host: 9090, Container: 8080}}}},
	}, func(line string) { said = append(said, line) })
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(strings.Join(said, "\n"), "web is healthy") {
		t.Errorf("the image's HEALTHCHECK was not used: %q", said)
	}
	exit, out := sh(t, h, pod, "for u in web:8080 localhost:8080 localhost:9090; do wget -q -O - http://$u/; done")
	if exit.Code != 0 || out != "hello\nhello\nhello\n" {
		t.Errorf("exit %+v, output %q", exit, out)
	}
}

func TestSeveralPodsAtOnce(t *testing.T) {
	h, sb := opened(t)
	var wg sync.WaitGroup
	for i := range 6 {
		wg.Go(func() {
			id := fmt.Sprintf("p%d", i)
			pod, err := sb.Create(within(t), sandbox.PodSpec{ID: id, Image: h.image, Egress: i%2 == 0}, nil)
			if err != nil {
				t.Error(err)
				return
			}
			if exit, out := sh(t, h, pod, "hostname"); exit.Code != 0 || out != id+"\n" {
				t.Errorf("%s: %+v %q", id, exit, out)
			}
			if err := sb.Remove(within(t), id); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := sb.Close(); err != nil {
		t.Error(err)
	}
	for _, leak := range h.Leaks(t) {
		t.Errorf("left behind: %s", leak)
	}
}

func TestBadSpecs(t *testing.T) {
	h, sb := opened(t)
	gone := strings.Replace(h.image, h.image[len(h.image)-6:], "000000", 1)
	for what, c := range map[string]struct {
		spec sandbox.PodSpec
		says string
	}{
		"id":        {sandbox.PodSpec{ID: "../x", Image: h.image}, "letters and digits"},
		"tag":       {sandbox.PodSpec{ID: "a", Image: "busybox:latest"}, "not a reference by digest"},
		"no image":  {sandbox.PodSpec{ID: "b", Image: gone}, "the registry does not have it"},
		"alias":     {sandbox.PodSpec{ID: "c", Image: h.image, Services: []sandbox.Service{{Name: "a b"}}}, "host's name"},
		"host":      {sandbox.PodSpec{ID: "d", Image: h.image, Hosts: map[string]string{"x": "nowhere"}}, "not an IP address"},
		"no source": {sandbox.PodSpec{ID: "e", Image: h.image, Mounts: []sandbox.Mount{{Source: "/no/such", Target: "/x"}}}, "/no/such"},
		"command": {sandbox.PodSpec{ID: "f", Image: h.image, Services: []sandbox.Service{
			{Name: "s", Image: h.image, Command: []string{"no-such"}},
		}}, "could not be started"},
	} {
		_, err := sb.Create(within(t), c.spec, nil)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", what, err, c.says)
		}
	}
	if err := sb.Close(); err != nil {
		t.Error(err)
	}
	for _, leak := range h.Leaks(t) {
		t.Errorf("left behind: %s", leak)
	}
}
