package containerd_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/agent/sandbox/containerd"
	"github.com/slipway-ci/slipway/agent/sandbox/containerd/daemon"
	"github.com/slipway-ci/slipway/agent/sandbox/sandboxtest"
	"github.com/slipway-ci/slipway/internal/testimage"
)

// The test binary is also an agent that is killed in the middle of what its script says.
const beAgent = "SLIPWAY_TEST_AGENT"

type agentScript struct {
	Config containerd.Config // without its logger
	Pod    sandbox.PodSpec
	Step   sandbox.StepSpec
}

func TestMain(m *testing.M) {
	if script := os.Getenv(beAgent); script != "" {
		if err := agent(script); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		select {} // until it is killed
	}
	os.Exit(m.Run())
}

// agent creates the pod, starts the step and says what it did, line by line.
func agent(script string) error {
	var s agentScript
	if err := json.Unmarshal([]byte(script), &s); err != nil {
		return err
	}
	s.Config.Log = slog.New(slog.DiscardHandler)
	sb, err := containerd.New(context.Background(), s.Config)
	if err != nil {
		return err
	}
	if s.Config.WarmPods > 0 {
		if err := sb.Prepare(context.Background(), s.Pod); err != nil {
			return err
		}
		fmt.Println("made ahead")
	}
	pod, err := sb.Create(context.Background(), s.Pod, func(line string) { fmt.Println(line) })
	if err != nil {
		return err
	}
	fmt.Println("created")
	if err := pod.Start(context.Background(), s.Step); err != nil {
		return err
	}
	fmt.Println("started")
	return nil
}

// killAgentAt runs an agent and kills it as soon as it has said a line with text.
func (h *host) killAgentAt(t *testing.T, s agentScript, text string) {
	t.Helper()
	s.Config = h.cfg
	s.Config.Log = nil
	script, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), beAgent+"="+string(script))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	guard := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer guard.Stop()
	var said []string
	found := false
	for lines := bufio.NewScanner(out); !found && lines.Scan(); {
		said = append(said, lines.Text())
		found = strings.Contains(lines.Text(), text)
	}
	_ = cmd.Process.Kill()
	_, _ = io.Copy(io.Discard, out)
	_ = cmd.Wait()
	if !found {
		t.Fatalf("the agent never said %q: %q", text, said)
	}
}

func TestAgentIsKilledInMidStep(t *testing.T) {
	t.Run("made", killedInMidStep)
	t.Run(aheadLevel, killedInMidStep)
}

// TestAgentIsKilledWithPodsAhead: what the pool of a killed agent had, or had given to a job that was not ready yet, is removed.
func TestAgentIsKilledWithPodsAhead(t *testing.T) {
	h := newHost(t)
	for i, at := range []string{"made ahead", "sick is started"} {
		h.cfg.WarmPods = 1
		id := fmt.Sprintf("p%d", i)
		h.killAgentAt(t, agentScript{Pod: sandbox.PodSpec{
			ID: id, Image: h.image, Egress: true, Services: []sandbox.Service{h.Service(sandboxtest.Sick)},
		}}, at)
		h.cfg.WarmPods = 0
		sb := h.open(t)
		ids, err := sb.List(within(t))
		if err != nil || at == "sick is started" && !slices.Equal(ids, []string{id}) {
			t.Errorf("killed at %q: list %v, %v", at, ids, err)
		}
		if _, err := sb.Attach(within(t), id); !errors.Is(err, sandbox.ErrNotFound) {
			t.Errorf("killed at %q: attach: %v", at, err)
		}
		if err := sb.Remove(within(t), id); err != nil {
			t.Errorf("killed at %q: remove: %v", at, err)
		}
		if err := sb.Close(); err != nil {
			t.Error(err)
		}
		for _, leak := range h.Leaks(t) {
			t.Errorf("killed at %q, left behind: %s", at, leak)
		}
	}
}

func killedInMidStep(t *testing.T) {
	h := newHost(t)
	out := filepath.Join(h.dir, "out")
	h.killAgentAt(t, agentScript{
		Pod: sandbox.PodSpec{ID: "p", Image: h.image, Egress: true, Env: []string{"SECRET=kept in memory"}},
		Step: sandbox.StepSpec{
			ID: "a", Output: out, Argv: []string{"sh", "-c", "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done; sleep 1; echo end; exit 4"},
		},
	}, "started")
	sb := h.open(t)
	defer sb.Close()
	pod, err := sb.Attach(within(t), "p")
	if err != nil {
		t.Fatal(err)
	}
	exit, err := pod.Wait(within(t), "a")
	if err != nil || exit.Code != 4 {
		t.Fatalf("exit %+v, %v", exit, err)
	}
	var want strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&want, "line %d\n", i)
	}
	want.WriteString("end\n")
	if data, err := os.ReadFile(out); err != nil || string(data) != want.String() {
		t.Errorf("output of %d bytes, want %d, %v", len(data), want.Len(), err)
	}
	if _, out := sh(t, h, pod, "echo $SECRET; ip addr show eth0 | grep -c 'inet '"); out != "kept in memory\n1\n" {
		t.Errorf("a step after the restart says %q", out)
	}
	err = filepath.WalkDir(filepath.Join(h.cfg.Dir, "pods"), func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		if strings.Contains(string(data), "kept in memory") {
			t.Errorf("the pod's environment is in %s", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func TestAgentIsKilledInMidCreate(t *testing.T) {
	h := newHost(t)
	for i, at := range []string{"pulling", "pulled", "sick is started"} {
		id := fmt.Sprintf("p%d", i)
		// Another image each time, so that each agent has to pull.
		image := h.registry.Push(t, "busybox", testimage.Image{Files: map[string]string{"id": id}})
		h.killAgentAt(t, agentScript{Pod: sandbox.PodSpec{
			ID: id, Image: image, Egress: true, Services: []sandbox.Service{h.Service(sandboxtest.Sick)},
		}}, at)
		sb := h.open(t)
		ids, err := sb.List(within(t))
		if err != nil || !slices.Equal(ids, []string{id}) {
			t.Errorf("killed at %q: list %v, %v", at, ids, err)
		}
		if _, err := sb.Attach(within(t), id); !errors.Is(err, sandbox.ErrNotFound) {
			t.Errorf("killed at %q: attach: %v", at, err)
		}
		if err := sb.Remove(within(t), id); err != nil {
			t.Errorf("killed at %q: remove: %v", at, err)
		}
		if err := sb.Close(); err != nil {
			t.Error(err)
		}
		for _, leak := range h.Leaks(t) {
			t.Errorf("killed at %q, left behind: %s", at, leak)
		}
	}
}

func TestContainerdIsKilled(t *testing.T) {
	h, sb := opened(t)
	pod := create(t, sb, sandbox.PodSpec{ID: "p", Image: h.image})
	out := filepath.Join(h.dir, "out")
	if err := pod.Start(within(t), sandbox.StepSpec{ID: "a", Argv: []string{"sh", "-c", "echo begin; sleep 1; echo end; exit 6"}, Output: out}); err != nil {
		t.Fatal(err)
	}
	if err := h.daemon.Kill(within(t)); err != nil {
		t.Fatal(err)
	}
	if exit, err := pod.Wait(within(t), "a"); err != nil || exit.Code != 6 {
		t.Errorf("without containerd: %+v, %v", exit, err)
	}
	if _, said := sh(t, h, pod, "echo still"); said != "still\n" {
		t.Errorf("a step without containerd says %q", said)
	}
	d, err := daemon.Start(within(t), daemon.Config{Dir: filepath.Join(h.dir, "c")})
	if err != nil {
		t.Fatal(err)
	}
	*h.daemon = *d
	if err := sb.Remove(within(t), "p"); err != nil {
		t.Error(err)
	}
	create(t, sb, sandbox.PodSpec{ID: "q", Image: h.image})
	if err := sb.Remove(within(t), "q"); err != nil {
		t.Error(err)
	}
	if err := sb.Close(); err != nil {
		t.Error(err)
	}
	for _, leak := range h.Leaks(t) {
		t.Errorf("left behind: %s", leak)
	}
}

func TestSecondAgentIsRefused(t *testing.T) {
	h, _ := opened(t)
	if _, err := containerd.New(context.Background(), h.cfg); err == nil || !strings.Contains(err.Error(), "another agent") {
		t.Errorf("a second agent in the same directory: %v", err)
	}
}
