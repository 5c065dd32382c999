package containerd_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/agent/sandbox/containerd/daemon"
	"github.com/slipway-ci/slipway/agent/sandbox/procid"
	"github.com/slipway-ci/slipway/agent/sandbox/sandboxtest"
	"github.com/slipway-ci/slipway/internal/testimage"
)

// smallDisk mounts a file system of 2 MiB at /disk.
func smallDisk(s *stage, p *sandbox.PodSpec) {
	s.disk = filepath.Join(s.dir, "disk")
	err := os.MkdirAll(s.disk, 0o755)
	if err == nil {
		err = unix.Mount("none", s.disk, "tmpfs", 0, "size=2m,nr_inodes=500")
	}
	if err != nil {
		s.t.Fatal(err)
	}
	p.Mounts = append(p.Mounts, sandbox.Mount{Source: s.disk, Target: "/disk"})
}

func diskEndings() []ending {
	onDisk := func(readOnly bool) func(*testing.T, *stage, sandbox.Exit, error) {
		return exits(func(e sandbox.Exit) bool {
			return len(e.Disks) == 1 && e.Disks[0] == sandbox.DiskFault{Path: "/disk", ReadOnly: readOnly} && e.OurFault()
		})
	}
	return []ending{
		{name: "a full disk", script: "dd if=/dev/zero of=/disk/x bs=1M count=9 || exit 8", pod: smallDisk, kind: sandbox.KindDiskFull, code: 8, check: onDisk(false)},
		{
			name: "a disk without room for files", script: "i=0; while [ $i -lt 600 ]; do : >/disk/$i || exit 8; i=$((i+1)); done", pod: smallDisk,
			kind: sandbox.KindDiskFull, code: 1, check: onDisk(false),
		},
		{name: "a full disk that the step bears", script: "dd if=/dev/zero of=/disk/x bs=1M count=9; exit 0", pod: smallDisk, kind: sandbox.KindSucceeded},
		{
			name: "a disk that becomes read-only", script: "echo ready; while touch /disk/x; do sleep 0.01; done; exit 8", pod: smallDisk,
			kind: sandbox.KindReadOnly, code: 8, check: onDisk(true),
			during: func(t *testing.T, s *stage) {
				if err := unix.Mount("", s.disk, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
					t.Error(err)
				}
			},
		},
		{
			name: "output on a full disk", script: "dd if=/dev/zero bs=64k count=99 || exit 8", pod: smallDisk, kind: sandbox.KindDiskFull, code: 8,
			step: func(s *sandbox.StepSpec) { s.Output = outputOnDisk },
		},
	}
}

// outputOnDisk stands for a file on the stage's small disk.
const outputOnDisk = "on-disk"

func service(s *stage, script string) sandbox.Service {
	return sandbox.Service{Name: "db", Image: s.image, Command: []string{"sh", "-c", script}}
}

// with adds one service to a pod.
func with(make func(*stage) sandbox.Service) func(*stage, *sandbox.PodSpec) {
	return func(s *stage, p *sandbox.PodSpec) { p.Services = append(p.Services, make(s)) }
}

func unfit(reason sandbox.ServiceReason, says ...string) func(*testing.T, *stage, sandbox.Exit, error) {
	return fails(func(e *sandbox.ServiceError) bool { return e.Reason == reason && errors.Is(e, sandbox.ErrUnhealthy) }, says...)
}

// A fragile service ends when somebody has spoken to it, as hasDied does.
const (
	fragile       = "echo disk on fire >&2; nc -l -p 5432 >/dev/null; exit 12"
	fragileHealth = "grep -q :1538 /proc/net/tcp /proc/net/tcp6"
	hasDied       = "echo x | nc -w 1 127.0.0.1 5432; sleep 0.5; "
)

func fragileService(s *stage) sandbox.Service {
	svc := service(s, fragile)
	svc.Health = &sandbox.Health{Command: []string{fragileHealth}, Interval: 50 * ms, Timeout: 5 * time.Second, Retries: 100}
	return svc
}

var serviceEndings = []ending{
	{name: "a service dies at once", fails: true, pod: with(func(s *stage) sandbox.Service { return s.Service(sandboxtest.Dying) }), check: unfit(sandbox.ServiceDied, "code 3", "no space for data")},
	{
		name: "a service that had closed its stdout dies", fails: true, pod: with(func(s *stage) sandbox.Service {
			svc := service(s, "exec >&-; sleep 0.2; echo last words >&2; exit 3")
			svc.Health = &sandbox.Health{Command: []string{"false"}, Interval: time.Minute}
			return svc
		}), check: unfit(sandbox.ServiceDied, "code 3", "last words"),
	},
	{name: "a service is never healthy", fails: true, pod: with(func(s *stage) sandbox.Service { return s.Service(sandboxtest.Sick) }), check: unfit(sandbox.ServiceUnhealthy, "probing")},
	{name: "a service's command is missing", fails: true, pod: with(func(s *stage) sandbox.Service {
		return sandbox.Service{Name: "db", Image: s.image, Command: []string{"no-such"}}
	}), check: unfit(sandbox.ServiceCannotStart, "no-such")},
	{
		name: "a service runs out of memory", fails: true,
		pod: func(s *stage, p *sandbox.PodSpec) {
			svc := service(s, "exec tail /dev/zero")
			svc.Health = &sandbox.Health{Command: []string{"false"}, Interval: time.Minute}
			p.Services, p.Resources.Memory = []sandbox.Service{svc}, 64<<20
		},
		check: fails(func(e *sandbox.ServiceError) bool { return e.OOMKilled && e.Reason == sandbox.ServiceDied }, "resources: memory"),
	},
	{
		name: "a service dies in mid-job, and the step fails", pod: with(fragileService), script: hasDied + "exit 2", kind: sandbox.KindServiceDied, code: 2,
		check: exits(func(e sandbox.Exit) bool {
			return len(e.Services) == 1 && e.Services[0].Name == "db" && e.Services[0].Code == 12 && strings.Contains(e.Explain(), "disk on fire")
		}),
	},
	{name: "a service dies in mid-job, and the step bears it", pod: with(fragileService), script: hasDied + "exit 0", kind: sandbox.KindSucceeded},
	{name: "a service dies in mid-job, and the step hangs", pod: with(fragileService), script: hasDied + "sleep 3600", step: limit(2*time.Second, time.Second), kind: sandbox.KindTimedOut, code: 143, check: exits(func(e sandbox.Exit) bool { return len(e.Services) == 1 })},
	{name: "a service lives, and the step fails", pod: with(fragileService), script: "exit 2", kind: sandbox.KindFailed, code: 2},
}

func notHad(reason sandbox.ImageReason, tries int) func(*testing.T, *stage, sandbox.Exit, error) {
	return fails(func(e *sandbox.ImageError) bool {
		return e.Reason == reason && e.Tries == tries && errors.Is(e, sandbox.ErrImage)
	})
}

func imageEndings(t *testing.T, h *host, proxy *faultyRegistry) []ending {
	// Each fault meets an image that nobody has pulled yet.
	faulty := func(name string, f fault) func(*stage, *sandbox.PodSpec) {
		ref := proxy.ref(h.registry.Push(t, name, testimage.Image{Files: map[string]string{"id": name}}))
		proxy.set(name, f)
		return func(_ *stage, p *sandbox.PodSpec) { p.Image = ref }
	}
	saidOnTheWay := func(text string) func(*testing.T, *stage, sandbox.Exit, error) {
		return func(t *testing.T, s *stage, _ sandbox.Exit, _ error) {
			if !strings.Contains(strings.Join(s.said, "\n"), text) {
				t.Errorf("nothing like %q was said: %q", text, s.said)
			}
		}
	}
	return []ending{
		{name: "no such image", fails: true, pod: faulty("gone", answers(http.StatusNotFound)), check: notHad(sandbox.ImageNotFound, 1)},
		{name: "an image wants credentials", fails: true, pod: faulty("secret", answers(http.StatusUnauthorized)), check: notHad(sandbox.ImageUnauthorised, 1)},
		{name: "an image is forbidden", fails: true, pod: faulty("forbidden", answers(http.StatusForbidden)), check: notHad(sandbox.ImageUnauthorised, 1)},
		{name: "a registry that is broken", fails: true, pod: faulty("broken", answers(http.StatusInternalServerError)), check: notHad(sandbox.ImageUnreachable, 3)},
		{
			name: "a registry that is not there", fails: true, check: notHad(sandbox.ImageUnreachable, 3),
			pod: func(_ *stage, p *sandbox.PodSpec) { p.Image = closedPort + "/x@sha256:" + strings.Repeat("ab", 32) },
		},
		{name: "a registry that sends something else", fails: true, pod: faulty("forged", forges), check: notHad(sandbox.ImageDamaged, 1)},
		{
			name: "a registry that stops sending", fails: true, pod: faulty("stalled", stalls),
			check: fails(func(e *sandbox.ImageError) bool {
				var stalled *sandbox.StalledError
				return e.Reason == sandbox.ImageUnreachable && errors.As(e, &stalled)
			}),
		},
		{name: "a registry that recovers", script: "true", pod: faulty("flaky", recovers(2)), kind: sandbox.KindSucceeded, check: saidOnTheWay("trying again")},
		{name: "a connection that breaks", script: "true", pod: faulty("cut", cuts(1)), kind: sandbox.KindSucceeded},
		{name: "a slow registry", script: "true", pod: faulty("slow", slow), kind: sandbox.KindSucceeded, check: saidOnTheWay(" MB of ")},
		{
			name: "a tag instead of a digest", fails: true, check: fails(func(e *sandbox.ImageError) bool { return e.Reason == sandbox.ImageInvalid && e.UserFault() }),
			pod: func(_ *stage, p *sandbox.PodSpec) { p.Image = "busybox:latest" },
		},
		{
			name: "a service's image is gone", fails: true, check: notHad(sandbox.ImageNotFound, 1),
			pod: with(func(s *stage) sandbox.Service {
				return sandbox.Service{Name: "db", Image: proxy.ref(s.image[:len(s.image)-4] + "0000")}
			}),
		},
	}
}

var createEndings = []ending{
	{
		name: "what is to be mounted is not there", fails: true,
		pod:   func(_ *stage, p *sandbox.PodSpec) { p.Mounts = []sandbox.Mount{{Source: "/no/such", Target: "/x"}} },
		check: fails(func(error) bool { return true }, "/no/such"),
	},
	{
		name: "a bad name", fails: true, check: fails(func(error) bool { return true }, "host's name"),
		pod: func(_ *stage, p *sandbox.PodSpec) { p.Hosts = map[string]string{"two words": "192.0.2.1"} },
	},
	{
		name: "removed while a step runs", script: hang, fails: true,
		during: func(t *testing.T, s *stage) {
			if err := s.sb.Remove(within(t), "p"); err != nil {
				t.Error(err)
			}
		},
	},
}

// init is the pod's first process.
func (s *stage) init(t *testing.T) procid.ID {
	t.Helper()
	var st struct {
		Init procid.ID `json:"init"`
	}
	s.podState(t, "p", &st)
	return st.Init
}

func lostBy(reason sandbox.LostReason) func(*testing.T, *stage, sandbox.Exit, error) {
	return fails(func(e *sandbox.LostError) bool { return e.Reason == reason && errors.Is(e, sandbox.ErrPodLost) })
}

var lossEndings = []ending{
	{name: "the container is killed from outside", script: hang, fails: true, during: func(t *testing.T, s *stage) { s.KillPod(t, "p") }, check: lostBy(sandbox.LostKilled)},
	{
		name: "the container is killed before the step", script: "true", fails: true, check: lostBy(sandbox.LostKilled),
		before: func(t *testing.T, s *stage) {
			id := s.init(t)
			s.KillPod(t, "p")
			gone(t, id)
		},
	},
	{
		name: "the shim is killed", script: hang, fails: true, check: lostBy(sandbox.LostShim),
		during: func(t *testing.T, s *stage) {
			shim, err := procid.Parent(s.init(t))
			if err == nil {
				err = unix.Kill(shim.PID, unix.SIGKILL)
			}
			if err != nil {
				t.Error(err)
			}
		},
	},
	{
		name: "containerd is killed, and the step ends without it", script: "echo ready; sleep 0.3; exit 6", kind: sandbox.KindFailed, code: 6,
		during: func(t *testing.T, s *stage) { s.restartDaemon(t, false) },
		check:  func(t *testing.T, s *stage, _ sandbox.Exit, _ error) { s.restartDaemon(t, true) },
	},
	{
		name: "containerd is killed and comes back", script: "echo ready; sleep 0.3; exit 6", kind: sandbox.KindFailed, code: 6,
		during: func(t *testing.T, s *stage) { s.restartDaemon(t, false); s.restartDaemon(t, true) },
	},
}

// gone waits until a process is.
func gone(t *testing.T, id procid.ID) {
	t.Helper()
	h, err := procid.Open(id)
	if errors.Is(err, procid.ErrGone) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if err := h.Wait(within(t)); err != nil {
		t.Error(strconv.Itoa(id.PID), err)
	}
}

// restartDaemon kills containerd, or starts it again.
func (s *stage) restartDaemon(t *testing.T, up bool) {
	t.Helper()
	if !up {
		if err := s.daemon.Kill(within(t)); err != nil {
			t.Fatal(err)
		}
		return
	}
	d, err := daemon.Start(context.Background(), daemon.Config{Dir: filepath.Join(s.dir, "c")})
	if err != nil {
		t.Fatal(err)
	}
	*s.daemon = *d
}
