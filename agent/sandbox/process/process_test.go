package process_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/agent/sandbox/process"
)

const patience = 30 * time.Second

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// both runs a test with and without control groups.
func both(t *testing.T, test func(t *testing.T, h *host)) {
	for name, grouped := range map[string]bool{"grouped": true, "ungrouped": false} {
		t.Run(name, func(t *testing.T) { test(t, newHost(t, grouped)) })
	}
}

func spec(id string) sandbox.PodSpec {
	return sandbox.PodSpec{ID: id, Image: "ignored@sha256:0", Egress: true}
}

// create makes a pod in a sandbox that is closed with the test, and checks that Remove leaves nothing.
func (h *host) create(t *testing.T, s sandbox.PodSpec) (*process.Sandbox, sandbox.Pod) {
	t.Helper()
	sb := h.open(t)
	t.Cleanup(func() {
		if err := errors.Join(sb.Remove(testContext(t), s.ID), sb.Close()); err != nil {
			t.Error(err)
		}
		for _, leak := range h.Leaks(t) {
			t.Errorf("left behind: %s", leak)
		}
	})
	pod, err := sb.Create(testContext(t), s, nil)
	if err != nil {
		t.Fatal(err)
	}
	return sb, pod
}

func script(t *testing.T, id, text string) sandbox.StepSpec {
	t.Helper()
	return sandbox.StepSpec{ID: id, Argv: []string{"sh", "-c", text}, Output: filepath.Join(t.TempDir(), id+".log")}
}

func run(t *testing.T, pod sandbox.Pod, s sandbox.StepSpec) (sandbox.Exit, string) {
	t.Helper()
	if err := pod.Start(testContext(t), s); err != nil {
		t.Fatal(err)
	}
	exit, err := pod.Wait(testContext(t), s.ID)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(s.Output)
	if err != nil {
		t.Fatal(err)
	}
	return exit, string(data)
}

// Environment variables that make this test binary an agent which starts a pod with a step, says so, and waits to be killed.
const (
	agentDir    = "SLIPWAY_TEST_AGENT_DIR"
	agentParent = "SLIPWAY_TEST_AGENT_CGROUP"
	agentOutput = "SLIPWAY_TEST_AGENT_OUTPUT"
)

const counting = `i=0; while [ $i -lt 400 ]; do echo line $i; i=$((i+1)); sleep 0.002; done; exit 5`

func beAgent() {
	sb, err := process.New(context.Background(), process.Config{Dir: os.Getenv(agentDir), CgroupParent: os.Getenv(agentParent)})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	pod, err := sb.Create(context.Background(), spec("held"), nil)
	if err == nil {
		err = pod.Start(context.Background(), sandbox.StepSpec{ID: "a", Argv: []string{"sh", "-c", counting}, Output: os.Getenv(agentOutput)})
	}
	fmt.Println("started", err)
	select {}
}

func TestKillNineOfTheAgentLosesNothing(t *testing.T) {
	both(t, func(t *testing.T, h *host) {
		output := filepath.Join(t.TempDir(), "a.log")
		agent := exec.Command("/proc/self/exe")
		agent.Env = []string{"PATH=" + os.Getenv("PATH"), agentDir + "=" + h.cfg.Dir, agentParent + "=" + h.cfg.CgroupParent, agentOutput + "=" + output}
		out, err := agent.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := agent.Start(); err != nil {
			t.Fatal(err)
		}
		line := make([]byte, 256)
		n, err := out.Read(line)
		if got := string(line[:n]); err != nil || got != "started <nil>\n" {
			t.Errorf("agent: %q, %v", got, err)
		}
		if err := agent.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = agent.Wait() // says that it was killed

		sb := h.open(t)
		defer sb.Close()
		pod, err := sb.Attach(testContext(t), "held")
		if err != nil {
			t.Fatal(err)
		}
		exit, err := pod.Wait(testContext(t), "a")
		if err != nil || exit.Code != 5 {
			t.Errorf("exit %+v, %v", exit, err)
		}
		var want strings.Builder
		for i := range 400 {
			fmt.Fprintf(&want, "line %d\n", i)
		}
		if got, err := os.ReadFile(output); err != nil || string(got) != want.String() {
			t.Errorf("%d bytes, %v, want %d", len(got), err, want.Len())
		}
		if exit, text := run(t, pod, script(t, "b", "echo more")); exit.Code != 0 || text != "more\n" {
			t.Errorf("the next step: %+v, %q", exit, text)
		}
		if err := sb.Remove(testContext(t), "held"); err != nil {
			t.Error(err)
		}
		for _, leak := range h.Leaks(t) {
			t.Errorf("left behind: %s", leak)
		}
	})
}

// fleeing leaves the step's session, process group and parent, and says its pid.
const fleeing = `(setsid sh -c 'echo $$ > "$0"; exec sleep 3600' %s >/dev/null 2>&1 &) ; while [ ! -s %s ]; do sleep 0.01; done`

func flee(t *testing.T, pod sandbox.Pod) (pid int) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "pid")
	if exit, text := run(t, pod, script(t, "flee", fmt.Sprintf(fleeing, file, file))); exit.Code != 0 {
		t.Fatalf("%+v %s", exit, text)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if pid, err = strconv.Atoi(strings.TrimSpace(string(data))); err != nil {
		t.Fatal(err)
	}
	return pid
}

func alive(pid int) bool { return unix.Kill(pid, 0) == nil }

func gone(t *testing.T, pid int) {
	t.Helper()
	ctx := testContext(t)
	for alive(pid) {
		state, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if strings.Contains(string(state), ") Z ") {
			return // whoever adopted it is slow
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("process %d lives on", pid)
		}
	}
}

func TestRemoveEndsWhatAStepLeftBehind(t *testing.T) {
	both(t, func(t *testing.T, h *host) {
		sb, pod := h.create(t, spec("p1"))
		pid := flee(t, pod)
		if !alive(pid) {
			t.Fatal("a process left behind does not outlive its step")
		}
		if err := sb.Remove(testContext(t), "p1"); err != nil {
			t.Fatal(err)
		}
		gone(t, pid)
	})
}

func TestRemoveFindsOrphansOfAKilledSupervisor(t *testing.T) {
	both(t, func(t *testing.T, h *host) {
		sb, pod := h.create(t, spec("p1"))
		pid := flee(t, pod)
		h.KillPod(t, "p1")
		if err := sb.Remove(testContext(t), "p1"); err != nil {
			t.Fatal(err)
		}
		gone(t, pid)
	})
}

func TestALostPodsStepIsEnded(t *testing.T) {
	both(t, func(t *testing.T, h *host) {
		_, pod := h.create(t, spec("p1"))
		s := script(t, "a", "echo $$; exec sleep 3600")
		if err := pod.Start(testContext(t), s); err != nil {
			t.Fatal(err)
		}
		pid := 0
		for ctx := testContext(t); pid == 0 && ctx.Err() == nil; {
			data, _ := os.ReadFile(s.Output)
			pid, _ = strconv.Atoi(strings.TrimSpace(string(data)))
		}
		h.KillPod(t, "p1")
		if _, err := pod.Wait(testContext(t), "a"); !errors.Is(err, sandbox.ErrPodLost) {
			t.Errorf("wait: %v", err)
		}
		gone(t, pid)
	})
}

// A supervisor that was started by an agent which died before it could note the pid.
func TestRemoveFindsAnUnknownSupervisor(t *testing.T) {
	both(t, func(t *testing.T, h *host) {
		sb, _ := h.create(t, spec("p1"))
		if err := sb.Close(); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(h.cfg.Dir, "pods/p1/pod.json"), []byte(`{"version":1,"id":"p1","init":{"pid":0,"start":0}}`), 0o600); err != nil {
			t.Fatal(err)
		}
		again := h.open(t)
		defer again.Close()
		if _, err := again.Attach(testContext(t), "p1"); !errors.Is(err, sandbox.ErrNotFound) {
			t.Errorf("attach to a half-made pod: %v", err)
		}
		if err := again.Remove(testContext(t), "p1"); err != nil {
			t.Error(err)
		}
	})
}

func TestEnvironment(t *testing.T) {
	t.Setenv("SLIPWAY_SECRET_OF_THE_AGENT", "x")
	h := newHost(t, false)
	h.cfg.Path, h.cfg.PassEnv = "/usr/bin:/bin", []string{"HTTPS_PROXY=http://127.0.0.1:1"}
	_, pod := h.create(t, spec("p1"))
	exit, text := run(t, pod, script(t, "a", "env"))
	for _, want := range []string{"PATH=/usr/bin:/bin\n", "HTTPS_PROXY=http://127.0.0.1:1\n", "SLIPWAY_POD="} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q", want)
		}
	}
	if strings.Contains(text, "SECRET") || exit.Code != 0 {
		t.Errorf("the agent's environment reaches steps: %+v\n%s", exit, text)
	}
}

func TestRefusalsSayWhatToDo(t *testing.T) {
	h := newHost(t, false)
	sb := h.open(t)
	defer sb.Close()
	for want, change := range map[string]func(*sandbox.PodSpec){
		"`services:` need them (db, cache)": func(p *sandbox.PodSpec) { p.Services = []sandbox.Service{{Name: "db"}, {Name: "cache"}} },
		"`container:`":                      func(p *sandbox.PodSpec) { p.Container = true },
		"`egress: none`":                    func(p *sandbox.PodSpec) { p.Egress = false },
	} {
		s := spec("p1")
		change(&s)
		_, err := sb.Create(testContext(t), s, nil)
		if !errors.Is(err, sandbox.ErrUnsupported) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "runs-on") {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func TestLimits(t *testing.T) {
	for name, c := range map[string]struct {
		limits  sandbox.Resources
		script  string
		reached func(sandbox.Exit) bool
	}{
		"processes": {sandbox.Resources{PIDs: 20}, "i=0; while [ $i -lt 40 ]; do sleep 60 & i=$((i+1)); done; echo all",
			func(e sandbox.Exit) bool { return e.ForksRefused > 0 }},
		"memory": {sandbox.Resources{Memory: 64 << 20}, "tail /dev/zero && echo all", func(e sandbox.Exit) bool { return e.OOMKilled }},
	} {
		t.Run(name, func(t *testing.T) {
			s := spec("p1")
			s.Resources = c.limits
			_, pod := newHost(t, true).create(t, s)
			exit, text := run(t, pod, script(t, "a", c.script))
			if !c.reached(exit) || strings.Contains(text, "all") {
				t.Errorf("the limit was not reached: %+v\n%s", exit, text)
			}
		})
	}
}

// Without control groups the job is told that its limits mean nothing.
func TestLimitsThatAreNotEnforcedAreSaid(t *testing.T) {
	h := newHost(t, false)
	sb := h.open(t)
	s := spec("p1")
	s.Resources.Memory = 1 << 20
	var lines []string
	_, err := sb.Create(testContext(t), s, func(line string) { lines = append(lines, line) })
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(sb.Remove(testContext(t), "p1"), sb.Close()); err != nil {
		t.Error(err)
	}
	text := strings.Join(lines, "\n")
	for _, want := range []string{"image ignored@sha256:0 is ignored", "nothing isolates them", "limits are not enforced"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q does not say %q", text, want)
		}
	}
}

func TestTwoAgentsOnOneDirectory(t *testing.T) {
	h := newHost(t, false)
	first := h.open(t)
	if _, err := process.New(testContext(t), h.cfg); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second agent: %v", err)
	}
	if err := errors.Join(first.Close(), first.Close()); err != nil {
		t.Error(err)
	}
}
