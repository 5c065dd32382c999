package containerd_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/agent/sandbox/containerd"
)

const untrusted = sandbox.IsolationUntrusted

// mapOf is the range of ids of the pod's processes, as the host sees its init and as a step sees its own.
func mapOf(t *testing.T, h *host, pod sandbox.Pod) string {
	t.Helper()
	var state struct {
		Init struct {
			PID int `json:"pid"`
		} `json:"init"`
	}
	h.podState(t, pod.ID(), &state)
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/uid_map", state.Init.PID))
	if err != nil {
		t.Fatal(err)
	}
	outside := strings.Join(strings.Fields(string(data)), " ")
	_, inside := sh(t, h, pod, "cat /proc/self/uid_map")
	if inside = strings.Join(strings.Fields(inside), " "); inside != outside {
		t.Errorf("uid_map %q on the host, %q in a step", outside, inside)
	}
	return outside
}

// TestRootInAnUntrustedPodIsNobodyOnTheHost: its ids are a range of its own, and what only the host's root may read it can't.
func TestRootInAnUntrustedPodIsNobodyOnTheHost(t *testing.T) {
	h := newHost(t)
	h.cfg.CABundle = filepath.Join(h.dir, "ca.pem") // mounted into every container, as the host's
	if err := os.WriteFile(h.cfg.CABundle, []byte("only the host's root reads this"), 0o600); err != nil {
		t.Fatal(err)
	}
	sb := h.open(t)
	defer sb.Close()
	const read = "id -u; cat $SSL_CERT_FILE"
	if exit, out := sh(t, h, create(t, sb, sandbox.PodSpec{ID: "trusted", Image: h.image}), read); exit.Code != 0 || !strings.HasPrefix(out, "0\nonly") {
		t.Fatalf("without a user namespace it can be read, or this test shows nothing: %+v %s", exit, out)
	}
	a := create(t, sb, sandbox.PodSpec{ID: "a", Image: h.image, Isolation: untrusted})
	b := create(t, sb, sandbox.PodSpec{ID: "b", Image: h.image, Isolation: untrusted})
	if exit, out := sh(t, h, a, read); exit.Code == 0 || !strings.HasPrefix(out, "0\n") || strings.Contains(out, "only") {
		t.Errorf("with one: %+v %s", exit, out)
	}
	mapA, mapB := mapOf(t, h, a), mapOf(t, h, b)
	if mapA == mapB || !strings.HasSuffix(mapA, " 65536") || strings.HasPrefix(mapA, "0 0 ") || strings.HasPrefix(mapB, "0 0 ") {
		t.Errorf("uid_map %q and %q", mapA, mapB)
	}
	for what, script := range map[string]string{
		"a setting of the network that is not the pod's": "echo 1 >/proc/sys/net/core/somaxconn_of_the_host; test -e /proc/sys/net/core/somaxconn_of_the_host",
		"a higher priority than the host gives":          "busybox nice -n -10 true",
		"an id outside the range":                        "touch /tmp/f && chown 70000 /tmp/f",
		"a device":                                       "busybox mknod /tmp/null c 1 3",
	} {
		if exit, out := sh(t, h, a, script); exit.Code == 0 {
			t.Errorf("%s: %s", what, out)
		}
	}
}

// TestAnUntrustedPodsFilesHaveTheirUsualOwners: on disk, so that the agent reads, writes and removes them as ever.
func TestAnUntrustedPodsFilesHaveTheirUsualOwners(t *testing.T) {
	h, sb := opened(t)
	work := filepath.Join(h.dir, "work")
	if err := os.Mkdir(work, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chmod(work, 0o777), os.WriteFile(filepath.Join(work, "given"), []byte("x"), 0o600)); err != nil {
		t.Fatal(err)
	}
	pod := create(t, sb, sandbox.PodSpec{
		ID: "p", Image: h.image, Isolation: untrusted, Mounts: []sandbox.Mount{{Source: work, Target: "/work"}},
		Services: []sandbox.Service{{
			Name: "svc", Image: h.image, User: "tester", Command: []string{"sh", "-c", "id -u; cat /proc/self/uid_map; touch /tmp/up; exec sleep 3600"},
			Health: &sandbox.Health{Command: []string{"test", "-f", "/tmp/up"}, Interval: 100 * time.Millisecond, Retries: 50},
		}},
	})
	exit, out := sh(t, h, pod, `cat /work/given; echo y >>/work/given; touch /work/made; busybox cp /bin/busybox /work/su; chmod 4755 /work/su
		touch /work/theirs && chown 1000:2000 /work/theirs; ls -ln /work; touch /etc/mine && echo 192.0.2.1 h >>/etc/hosts`)
	if exit.Code != 0 {
		t.Fatalf("%+v %s", exit, out)
	}
	for name, want := range map[string][2]uint32{"given": {0, 0}, "made": {0, 0}, "theirs": {1000, 2000}} {
		var st syscall.Stat_t
		if err := syscall.Stat(filepath.Join(work, name), &st); err != nil || st.Uid != want[0] || st.Gid != want[1] {
			t.Errorf("%s is %d:%d's on disk, %v", name, st.Uid, st.Gid, err)
		}
	}
	if data, err := os.ReadFile(filepath.Join(work, "given")); err != nil || string(data) != "xy\n" {
		t.Errorf("%q %v", data, err)
	}
	log, err := os.ReadFile(filepath.Join(h.cfg.Dir, "pods/p/log/svc0.log"))
	fields := strings.Fields(string(log))
	if err != nil || len(fields) != 4 || fields[0] != "1000" || strings.Join(fields[1:], " ") != mapOf(t, h, pod) {
		t.Errorf("the service: %q %v", log, err)
	}
}

// TestRangesOfIDsAreUniqueAndLast: for as long as anything of a pod is there, also over a restart of the agent.
func TestRangesOfIDsAreUniqueAndLast(t *testing.T) {
	h := newHost(t)
	h.cfg.UserIDs = containerd.UserIDs{First: 1 << 30, Pods: 1}
	sb := h.open(t)
	spec := func(id string) sandbox.PodSpec { return sandbox.PodSpec{ID: id, Image: h.image, Isolation: untrusted} }
	if got := mapOf(t, h, create(t, sb, spec("a"))); got != "0 1073741824 65536" {
		t.Errorf("uid_map %q", got)
	}
	if err := sb.Close(); err != nil {
		t.Fatal(err)
	}
	sb = h.open(t)
	if _, err := sb.Create(within(t), spec("b"), nil); err == nil || !strings.Contains(err.Error(), "all 1 ranges of user ids are taken") {
		t.Errorf("a second pod: %v", err)
	}
	if err := sb.Remove(within(t), "a"); err != nil {
		t.Fatal(err)
	}
	if got := mapOf(t, h, create(t, sb, spec("b"))); got != "0 1073741824 65536" {
		t.Errorf("uid_map %q", got)
	}
	if err := errors.Join(sb.Remove(within(t), "b"), sb.Close()); err != nil {
		t.Fatal(err)
	}
	for _, leak := range h.Leaks(t) {
		t.Errorf("left behind: %s", leak)
	}
}

// TestWhatAPoolCanNotHaveIsRefused: with a reason, before anything is made.
func TestWhatAPoolCanNotHaveIsRefused(t *testing.T) {
	h := newHost(t)
	h.cfg.Runtimes = map[string]containerd.Runtime{"gone": {Path: "/no/such/runtime"}, "mine": {Type: "io.containerd.mine.v3"}, "runc-there": {Path: "/usr/sbin/runc"}}
	sb := h.open(t)
	defer sb.Close()
	able := sb.Abilities()
	for spec, want := range map[*sandbox.PodSpec]string{
		{Runtime: "gone"}:     "/no/such/runtime is not there",
		{Runtime: "mine"}:     "containerd-shim-mine-v3 is not there",
		{Runtime: "unheard"}:  "knows no runtime unheard",
		{Isolation: "severe"}: `isolation "severe"`,
	} {
		spec.ID, spec.Image = "p", h.image
		if _, err := sb.Create(within(t), *spec, nil); !errors.Is(err, sandbox.ErrUnsupported) || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", spec, err)
		}
		if why, known := able.Runtimes[spec.Runtime]; known && !strings.Contains(why, want) {
			t.Errorf("runtime %s: %q, want %q", spec.Runtime, why, want)
		}
	}
	if why := able.Isolation[untrusted]; why != "" {
		t.Errorf("untrusted: %s", why)
	}
	pod := create(t, sb, sandbox.PodSpec{ID: "p", Image: h.image, Runtime: "runc-there"})
	if exit, out := sh(t, h, pod, "echo runs"); exit.Code != 0 || out != "runs\n" {
		t.Errorf("%+v %s", exit, out)
	}
}
