package containerd_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/agent/sandbox/procid"
	"github.com/slipway-ci/slipway/internal/testimage"
)

// annexed are endings of steps with an image of their own: the same as without.
func annexed(groups ...[]ending) []ending {
	all := slices.Concat(groups...)
	for i := range all {
		all[i].name, all[i].annexed = "with an image of its own, "+all[i].name, true
	}
	return all
}

// annexInit is the first process of the pod's first annex.
func (s *stage) annexInit(t *testing.T) procid.ID {
	t.Helper()
	var st struct {
		Init procid.ID `json:"init"`
	}
	data, err := os.ReadFile(filepath.Join(s.cfg.Dir, "pods", "p", "img0.json"))
	if err == nil {
		err = json.Unmarshal(data, &st)
	}
	if err != nil || st.Init.PID < 2 {
		t.Fatalf("the annex's init %d, %v", st.Init.PID, err)
	}
	return st.Init
}

var annexEndings = []ending{
	{
		name: "its container is killed from outside", script: hang, fails: true,
		during: func(t *testing.T, s *stage) {
			if err := unix.Kill(s.annexInit(t).PID, unix.SIGKILL); err != nil {
				t.Error(err)
			}
		},
		check: fails(func(e *sandbox.LostError) bool { return e.Reason == sandbox.LostKilled && e.Image != "" }, "container of the step's image"),
	},
	{
		name: "the job's container is killed before", script: "true", fails: true, check: lostBy(sandbox.LostKilled),
		before: func(t *testing.T, s *stage) {
			id := s.init(t)
			s.KillPod(t, "p")
			gone(t, id)
		},
	},
	{
		name: "the job's shim is killed", script: hang, fails: true, check: lostBy(sandbox.LostShim),
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
		name: "removed while it runs", script: hang, fails: true,
		during: func(t *testing.T, s *stage) {
			if err := s.sb.Remove(within(t), "p"); err != nil {
				t.Error(err)
			}
		},
	},
	{
		name: "removed before it is made", script: "true", fails: true,
		before: func(t *testing.T, s *stage) {
			if err := s.sb.Remove(within(t), "p"); err != nil {
				t.Error(err)
			}
		},
	},
}

// TestAnAnnexIsThePodButForItsFiles: network, mounts and limits are the job's, root file system and environment its own.
func TestAnAnnexIsThePodButForItsFiles(t *testing.T) {
	eachLevel(t, func(t *testing.T, l level) {
		h := newHost(t)
		other := h.registry.Push(t, "other", testimage.Image{Files: map[string]string{"only-here": "x"}})
		sb := h.open(t)
		defer sb.Close()
		work := filepath.Join(h.dir, "work")
		if err := os.Mkdir(work, 0o755); err != nil {
			t.Fatal(err)
		}
		pod := l.create(t, sb, sandbox.PodSpec{
			ID: "p", Image: h.image, StepImages: []string{other}, Env: []string{"OF_JOB=x"}, Resources: sandbox.Resources{Memory: 64 << 20},
			Mounts: []sandbox.Mount{{Source: work, Target: "/work"}},
		})
		in := func(s *sandbox.StepSpec) { s.Image = other }
		if exit, out := sh(t, h, pod, "echo job >/work/f; touch /of-job; cd / && (nc -l -p 8099 -e echo over the loopback &) ; readlink /proc/self/ns/net"); exit.Code != 0 {
			t.Fatalf("%+v %s", exit, out)
		}
		_, jobNet := sh(t, h, pod, "readlink /proc/self/ns/net; hostname")
		_, out := sh(t, h, pod, "readlink /proc/self/ns/net; hostname", in)
		if out != jobNet {
			t.Errorf("network and name %q, the job's %q", out, jobNet)
		}
		if _, out := sh(t, h, pod, "cat /work/f; echo annex >>/work/f; cat /only-here; ls /of-job 2>/dev/null; echo \"[$OF_JOB]\"; nc 127.0.0.1 8099 </dev/null", in); out != "job\nx[]\nover the loopback\n" {
			t.Errorf("in the annex: %q", out)
		}
		if _, out := sh(t, h, pod, "cat /work/f; ls /only-here 2>/dev/null"); out != "job\nannex\n" {
			t.Errorf("in the job after it: %q", out)
		}
		if exit, _ := sh(t, h, pod, "exec tail /dev/zero", in); exit.Kind() != sandbox.KindOutOfMemory {
			t.Errorf("beyond the job's memory: %+v", exit)
		}
		if _, status := sh(t, h, pod, "cat /proc/self/status", in); !strings.Contains(status, "NoNewPrivs:\t1") || !strings.Contains(status, "Seccomp:\t2") {
			t.Errorf("not confined: %s", status)
		}
		if err := sb.Remove(within(t), "p"); err != nil {
			t.Error(err)
		}
	})
}

// TestAgentIsKilledWithAnnexes: one that was made serves on, one that was not, or half, is made when a step wants it.
func TestAgentIsKilledWithAnnexes(t *testing.T) {
	for _, isolation := range []sandbox.Isolation{sandbox.IsolationDefault, sandbox.IsolationUntrusted} {
		t.Run(string(isolation), func(t *testing.T) {
			h := newHost(t)
			for i, at := range []string{"created", "started"} {
				id := []string{"p", "q"}[i]
				spec := agentScript{
					Pod:  sandbox.PodSpec{ID: id, Image: h.image, Egress: true, StepImages: []string{h.image}, Isolation: isolation},
					Step: sandbox.StepSpec{ID: "a", Output: filepath.Join(h.dir, "out-"+at), Argv: []string{"sh", "-c", "sleep 1; exit 4"}, Image: h.image},
				}
				h.killAgentAt(t, spec, at)
				sb := h.open(t)
				pod, err := sb.Attach(within(t), id)
				if err != nil {
					t.Fatal(err)
				}
				if err := pod.Start(within(t), spec.Step); err != nil {
					t.Fatalf("killed when it had %s: %v", at, err)
				}
				if exit, err := pod.Wait(within(t), "a"); err != nil || exit.Code != 4 {
					t.Errorf("killed when it had %s: %+v, %v", at, exit, err)
				}
				in := func(s *sandbox.StepSpec) { s.Image = h.image }
				if exit, out := sh(t, h, pod, "echo again", in); exit.Code != 0 || out != "again\n" {
					t.Errorf("killed when it had %s, the next step: %+v, %q", at, exit, out)
				}
				if err := sb.Remove(within(t), id); err != nil {
					t.Error(err)
				}
				if err := sb.Close(); err != nil {
					t.Error(err)
				}
			}
			for _, leak := range h.Leaks(t) {
				if !strings.Contains(leak, "network namespace") && !strings.Contains(leak, "address") && !strings.Contains(leak, "bridge port") {
					t.Errorf("left behind: %s", leak)
				}
			}
		})
	}
}
