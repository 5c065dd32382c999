package containerd_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/agent/sandbox"
)

// attempts are what a hostile step tries, as root in its container. Each succeeds, with exit code 0, only if it gets what
// it wants.
var attempts = map[string]string{
	// The supervisor's secrets: the environment of the whole job is in its memory.
	"read /proc/1/environ": "cat /proc/1/environ",
	"read /proc/1/maps":    "cat /proc/1/maps",
	"read /proc/1/mem":     "head -c 1 /proc/1/mem",
	"read /proc/1/auxv":    "cat /proc/1/auxv",
	"read /proc/1/fd/*":    "for i in $(seq 3 30); do head -c 1 /proc/1/fd/$i && exit 0; done; exit 1",
	"enter /proc/1/root":   "ls /proc/1/root/",
	"enter /proc/1/cwd":    "ls /proc/1/cwd/",
	"enter /proc/1/task":   "cat /proc/1/task/*/environ",
	"read /proc/1/syscall": "cat /proc/1/syscall || cat /proc/1/stack",
	"join /proc/1/ns":      "busybox nsenter -t 1 -m true",
	"write /proc/1/mem":    "echo x >/proc/1/mem",
	// What the agent put into the container.
	"write the supervisor":          "echo x >/.slipway/supervisor",
	"replace the supervisor":        "rm -f /.slipway/supervisor && test ! -e /.slipway/supervisor",
	"chmod the supervisor":          "chmod 777 /.slipway/supervisor",
	"remove the socket":             "rm -f /.slipway/run/agent.sock && test ! -e /.slipway/run/agent.sock",
	"add to the socket's directory": "touch /.slipway/run/x || mkdir /.slipway/run/y || ln -s /etc /.slipway/run/z",
	"bind over the supervisor":      "mount --bind /bin/true /.slipway/supervisor",
	// The kernel.
	"mount a file system":                "mount -t tmpfs none /tmp",
	"mount proc":                         "mkdir -p /tmp/p && mount -t proc proc /tmp/p",
	"make /sys writable":                 "mount -o remount,rw /sys",
	"unmount a mask":                     "umount /proc/kcore || umount /sys/firmware",
	"a new mount namespace":              "busybox unshare -m true",
	"a new user namespace":               "busybox unshare -U true",
	"a new network namespace":            "busybox unshare -n true",
	"read a disk":                        "busybox mknod /tmp/disk b 254 0 && head -c 1 /tmp/disk",
	"read a disk by its usual number":    "busybox mknod /tmp/sda b 8 0 && head -c 1 /tmp/sda",
	"read the memory":                    "busybox mknod /tmp/mem c 1 1 && head -c 1 /tmp/mem",
	"use a loop device":                  "busybox mknod /tmp/loop b 7 0 && head -c 1 /tmp/loop",
	"use fuse":                           "busybox mknod /tmp/fuse c 10 229 && head -c 1 /tmp/fuse",
	"read the kernel's log":              "busybox dmesg | grep .",
	"read /proc/kcore":                   "test -s /proc/kcore",
	"change a setting":                   "echo x >/proc/sys/kernel/core_pattern",
	"press SysRq":                        "echo h >/proc/sysrq-trigger",
	"set the release agent":              "echo /tmp/x >/sys/fs/cgroup/memory/release_agent || echo /tmp/x >/sys/fs/cgroup/cpu/release_agent",
	"leave the control group":            "for f in /sys/fs/cgroup/*/cgroup.procs /sys/fs/cgroup/cgroup.procs; do test -e $f && echo $$ >$f && exit 0; done; exit 1",
	"raise the limits":                   "for f in /sys/fs/cgroup/pids/steps/*/pids.max /sys/fs/cgroup/steps/*/pids.max; do test -e $f && echo max >$f && exit 0; done; exit 1",
	"load a module":                      "busybox insmod /tmp/x.ko || busybox modprobe loop",
	"set the clock":                      "busybox date -s 2030-01-01 >/dev/null; date | grep 2030",
	"change the host's name":             "hostname evil",
	"protect itself from the OOM killer": "echo -999 >/proc/self/oom_score_adj",
	"become root by setuid":              "busybox cp /bin/busybox /tmp/su && chmod 4755 /tmp/su && busybox su tester -s /bin/sh -c '/tmp/su id -u' | grep -qx 0",
	"a new process namespace":            "busybox unshare -p -f true",
	"a new ipc or uts namespace":         "busybox unshare -i true || busybox unshare -u true",
	"unshare without a privilege":        "busybox su tester -s /bin/sh -c 'busybox unshare -U -r true'",
	"mount a disk":                       "busybox mknod /tmp/vda b 254 0; mkdir -p /tmp/d && mount -t ext4 /tmp/vda /tmp/d",
	"mount an overlay over /etc":         "mkdir -p /tmp/u /tmp/w && mount -t overlay -o lowerdir=/etc,upperdir=/tmp/u,workdir=/tmp/w none /etc",
	"mount cgroups":                      "mkdir -p /tmp/cg && { mount -t cgroup -o pids none /tmp/cg || mount -t cgroup2 none /tmp/cg; }",
	"move the root":                      "mkdir -p /tmp/new && busybox pivot_root /tmp/new /tmp/new",
	"write to a device of the kernel":    "busybox mknod /tmp/kmsg c 1 11 && echo x >/tmp/kmsg",
	"use a tun device":                   "busybox mknod /tmp/tun c 10 200 && head -c 1 /tmp/tun",
	"change the host's keys":             "echo 1 >/proc/sys/kernel/keys/maxkeys",
	"see other pods' mounts":             "grep -q slipway-mounts /proc/self/mountinfo && grep -c attempts /proc/1/mountinfo",
	"a name that is too long":            "touch $(head -c 5000 /dev/zero | tr '\\0' x)",
	// Other processes and the host.
	"see the host's processes":  "test $(ls /proc | grep -c '^[0-9]') -gt 20",
	"see the host's sockets":    "grep -q containerd /proc/net/unix",
	"find a container socket":   "busybox find / -xdev -name '*.sock' -not -path '/.slipway/*' | grep .",
	"find containerd's socket":  "ls /run/containerd /var/run/docker.sock 2>/dev/null | grep .",
	"see the host's interfaces": "ip link | grep -v LOOPBACK | grep -q '^[0-9]'",
	"kill the supervisor":       "kill -KILL 1; sleep 0.1; test ! -e /proc/1/status",
	"freeze the supervisor":     "kill -STOP 1; sleep 0.1; grep -q 'State:.*[Tt] (stopped' /proc/1/status",
}

func TestHostileSteps(t *testing.T) { eachLevel(t, hostileSteps) }

func hostileSteps(t *testing.T, l level) {
	h, sb := opened(t)
	pod := l.create(t, sb, sandbox.PodSpec{ID: "p", Image: h.image, Env: []string{"SECRET=hunter2"}})
	for name, script := range attempts {
		exit, out := sh(t, h, pod, script)
		if exit.Code == 0 || strings.Contains(strings.ReplaceAll(out, script, ""), "hunter2") {
			t.Errorf("a step could %s: %s", name, out)
		}
	}
	if exit, out := sh(t, h, pod, "echo alive"); exit.Code != 0 || out != "alive\n" {
		t.Errorf("after it all: %+v %s", exit, out)
	}
}

// TestHostileSocket: a step that puts a socket of its own in the place of the agent's is not taken for the agent.
func TestHostileSocket(t *testing.T) { eachLevel(t, hostileSocket) }

func hostileSocket(t *testing.T, l level) {
	h := newHost(t)
	sb := h.open(t)
	pod := l.create(t, sb, sandbox.PodSpec{ID: "p", Image: h.image})
	if exit, out := sh(t, h, pod, "busybox mv /.slipway /away && mkdir -p /.slipway/run && ! test -e /.slipway/run/agent.sock"); exit.Code != 0 {
		t.Fatalf("%+v %s", exit, out)
	}
	if err := sb.Close(); err != nil { // the agent goes, and comes back
		t.Fatal(err)
	}
	sb = h.open(t)
	defer sb.Close()
	pod, err := sb.Attach(within(t), "p")
	if err != nil {
		t.Fatal(err)
	}
	if exit, out := sh(t, h, pod, "echo found"); exit.Code != 0 || out != "found\n" {
		t.Errorf("%+v %s", exit, out)
	}
}

// TestHostileSignals: a step can't end its supervisor, nor make it deaf to the end of the step.
func TestHostileSignals(t *testing.T) { eachLevel(t, hostileSignals) }

func hostileSignals(t *testing.T, l level) {
	h, sb := opened(t)
	pod := l.create(t, sb, sandbox.PodSpec{ID: "p", Image: h.image})
	for _, signal := range []string{"SEGV", "BUS", "FPE", "ILL", "ABRT", "TRAP", "SYS", "16", "KILL", "STOP", "PIPE", "ALRM", "PROF", "URG", "40"} {
		if exit, out := sh(t, h, pod, "kill -"+signal+" 1; exit 3"); exit.Code != 3 {
			t.Errorf("%s: %+v %s", signal, exit, out)
		}
	}
	flood := "trap '' USR1; i=0; while [ $i -lt 3000 ]; do kill -USR1 1; i=$((i+1)); done; exit 4"
	if exit, _ := sh(t, h, pod, flood); exit.Code != 4 {
		t.Errorf("a flood of signals: %+v", exit)
	}
}

// TestHostileAccounts: what the supervisor reads in the container can neither block nor fill it.
func TestHostileAccounts(t *testing.T) { eachLevel(t, hostileAccounts) }

func hostileAccounts(t *testing.T, l level) {
	h, sb := opened(t)
	for i, script := range []string{
		"rm /etc/passwd /etc/group; busybox mkfifo /etc/passwd /etc/group", "ln -sf /dev/zero /etc/passwd; ln -sf /dev/zero /etc/group",
		"ln -sf /proc/1/environ /etc/passwd", "rm /etc/passwd; mkdir /etc/passwd", "yes a:b:1:2:c:/:x | head -c 20000000 >/etc/passwd",
	} {
		id := fmt.Sprintf("p%d", i)
		pod := l.create(t, sb, sandbox.PodSpec{ID: id, Image: h.image})
		sh(t, h, pod, script)
		if exit, out := sh(t, h, pod, "grep -c ^Uid:.7 /proc/self/status", func(s *sandbox.StepSpec) { s.User, s.Timeout = "7:8", 10*time.Second }); exit.Code != 0 || out != "1\n" {
			t.Errorf("%s: %+v %s", script, exit, out)
		}
		if exit, _ := sh(t, h, pod, "true", func(s *sandbox.StepSpec) { s.User = "tester" }); exit.Code != 126 {
			t.Errorf("%s: %+v", script, exit)
		}
		if err := sb.Remove(within(t), id); err != nil {
			t.Error(err)
		}
	}
}

// TestHostileFiles: names and trees that are hard to delete go all the same.
func TestHostileFiles(t *testing.T) { eachLevel(t, hostileFiles) }

func hostileFiles(t *testing.T, l level) {
	h, sb := opened(t)
	work := filepath.Join(h.dir, "work")
	if err := os.Mkdir(work, 0o777); err != nil {
		t.Fatal(err)
	}
	pod := l.create(t, sb, sandbox.PodSpec{ID: "p", Image: h.image, Mounts: []sandbox.Mount{{Source: work, Target: "/work"}}})
	exit, out := sh(t, h, pod, `long=$(printf %255s | tr ' ' x)
		for top in /work /var; do
			cd $top; touch "$long" "$(printf 'a\nb\033[31m')" -- -rf
			ln -s /etc/shadow link; ln -s /proc/1/root up; ln -s . self; busybox mkfifo pipe
			i=0; while [ $i -lt 60 ]; do mkdir $long && cd $long || mkdir d$i; cd d$i 2>/dev/null; i=$((i+1)); done
			i=0; while [ $i -lt 3000 ]; do : >f$i; i=$((i+1)); done
			chmod 000 $top/$long 2>/dev/null
		done; busybox chattr +i /work/$long 2>/dev/null && echo immutable; true`)
	if exit.Code != 0 || strings.Contains(out, "immutable") {
		t.Errorf("%+v %s", exit, out)
	}
	if err := sb.Remove(within(t), "p"); err != nil {
		t.Error(err)
	}
	if err := os.RemoveAll(work); err != nil {
		t.Error(err)
	}
	if err := sb.Close(); err != nil {
		t.Error(err)
	}
	for _, leak := range h.Leaks(t) {
		t.Errorf("left behind: %s", leak)
	}
}

// TestHostileNetwork: a pod reaches neither another pod, nor the host's services, nor link-local addresses.
func TestHostileNetwork(t *testing.T) { eachLevel(t, hostileNetwork) }

func hostileNetwork(t *testing.T, l level) {
	h, sb := opened(t)
	victim := l.create(t, sb, sandbox.PodSpec{ID: "victim", Image: h.image, Egress: true, Services: []sandbox.Service{{
		Name: "web", Image: h.image, Command: []string{"httpd", "-f", "-p", "8080", "-h", "/etc"},
	}}})
	pod := l.create(t, sb, sandbox.PodSpec{ID: "evil", Image: h.image, Egress: true})
	lone := l.create(t, sb, sandbox.PodSpec{ID: "lone", Image: h.image})
	listen, err := net.Listen("tcp", "0.0.0.0:0") // a service of the host
	if err != nil {
		t.Fatal(err)
	}
	server := &httptest.Server{Listener: listen, Config: &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: time.Second}}
	server.Start()
	defer server.Close()
	_, port, _ := net.SplitHostPort(listen.Addr().String())
	const reach = "echo x | nc -w 2 %s %s && exit 0; exit 1"
	if exit, out := sh(t, h, victim, "wget -q -O - http://localhost:8080/hostname"); exit.Code != 0 {
		t.Fatalf("the victim's own service: %+v %s", exit, out)
	}
	_, address := sh(t, h, victim, "ip -4 addr show eth0 | sed -n 's|.*inet \\([0-9.]*\\)/.*|\\1|p'")
	_, gateway := sh(t, h, pod, "ip route | sed -n 's/^default via \\([0-9.]*\\).*/\\1/p'")
	address, gateway = strings.TrimSpace(address), strings.TrimSpace(gateway)
	if net.ParseIP(address) == nil || net.ParseIP(gateway) == nil {
		t.Fatalf("addresses %q, %q", address, gateway)
	}
	for what, target := range map[string][2]string{
		"another pod":            {address, "8080"},
		"the host's gateway":     {gateway, port},
		"the host's loopback":    {"127.0.0.1", port},
		"the metadata service":   {"169.254.169.254", "80"},
		"another link-local one": {"169.254.1.1", "80"},
		"Docker's port":          {gateway, "2375"},
	} {
		for name, from := range map[string]sandbox.Pod{"evil": pod, "lone": lone} {
			if exit, out := sh(t, h, from, fmt.Sprintf(reach, target[0], target[1])); exit.Code == 0 {
				t.Errorf("%s reaches %s: %s", name, what, out)
			}
		}
	}
	// Nor does it help to take another's address, or to turn packets elsewhere.
	for _, script := range []string{"ip addr add " + address + "/24 dev eth0", "ip route add 169.254.169.254 dev eth0", "ip link set eth0 down", "busybox arp -s " + gateway + " 00:00:00:00:00:01"} {
		if exit, out := sh(t, h, pod, script); exit.Code == 0 {
			t.Errorf("%s: %s", script, out)
		}
	}
}
