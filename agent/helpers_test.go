package agent_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"github.com/slipway-ci/slipway/agent"
	"github.com/slipway-ci/slipway/agent/agenttest"
	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/agent/sandbox/fake"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// hostShell plays a step as a real process of this host, with the container's paths translated to the mounts.
func hostShell(ctx context.Context, s fake.Step) int {
	translate := func(text string) string {
		for _, m := range s.Pod.Mounts {
			text = strings.ReplaceAll(text, m.Target, m.Source)
		}
		return text
	}
	argv := make([]string, len(s.Argv))
	for i, a := range s.Argv {
		argv[i] = translate(a)
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	for _, e := range s.Env {
		cmd.Env = append(cmd.Env, translate(e))
	}
	cmd.Dir = translate(s.Dir)
	cmd.Stdout, cmd.Stderr = s.Out, s.Out
	if f, ok := s.Out.(*os.File); ok {
		cmd.Stdout, cmd.Stderr = f, f
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		fmt.Fprintln(s.Out, err)
		return 127
	}
	over := make(chan struct{})
	defer close(over)
	go func() {
		select {
		case <-s.Term:
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		case <-ctx.Done():
		case <-over:
			return
		}
		select {
		case <-ctx.Done():
			_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		case <-over:
		}
	}()
	err := cmd.Wait()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if ws := exit.Sys().(syscall.WaitStatus); ws.Signaled() {
			return 128 + int(ws.Signal())
		}
		return exit.ExitCode()
	}
	return 0
}

// host is an agent that can be stopped and started over the same directories and pods.
type host struct {
	t     *testing.T
	c     *agenttest.Coordinator
	world *fake.World
	dir   string
	cfg   agent.Config

	agent *agent.Agent
	mu    sync.Mutex
	stop  func()
	ended func()
	logs  bytes.Buffer
}

func newHost(t *testing.T, o fake.Options) *host {
	t.Helper()
	if o.Run == nil {
		o.Run = hostShell
	}
	h := &host{t: t, c: agenttest.Start(t), world: fake.NewWorld(o), dir: t.TempDir()}
	h.cfg = agent.Config{Address: h.c.Addr(), DataDir: filepath.Join(h.dir, "data"), RunDir: filepath.Join(h.dir, "run"), JoinToken: h.c.JoinToken(), Hostname: "test", Slots: 4}
	t.Cleanup(func() {
		h.down()
		if t.Failed() {
			t.Log(h.logText())
		}
	})
	return h
}

// up starts an agent process.
func (h *host) up() {
	h.t.Helper()
	sb := h.world.Open()
	a, err := agent.New(h.cfg, sb, slog.New(slog.NewTextHandler(&syncWriter{h: h}, nil)))
	if err != nil {
		h.t.Fatal(err)
	}
	h.agent = a
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	h.ended = func() {
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			h.t.Errorf("agent: %v", err)
		}
		cancel()
		sb.Close()
	}
	h.stop = func() {
		cancel()
		h.ended()
	}
}

// left waits until the agent process has left by itself.
func (h *host) left() {
	h.ended()
	h.stop = nil
}

// down ends the agent process; pods live on.
func (h *host) down() {
	if h.stop != nil {
		h.stop()
		h.stop = nil
	}
}

type syncWriter struct{ h *host }

func (w *syncWriter) Write(p []byte) (int, error) {
	w.h.mu.Lock()
	defer w.h.mu.Unlock()
	return w.h.logs.Write(p)
}

// logText is what the agent has logged.
func (h *host) logText() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.logs.String()
}

var _ io.Writer = (*syncWriter)(nil)

func lit(s string) *planv1.Value {
	return &planv1.Value{Kind: &planv1.Value_Literal{Literal: s}}
}

func exp(s string) *planv1.Value { return &planv1.Value{Kind: &planv1.Value_Expr{Expr: s}} }

func entry(name string, v *planv1.Value) *planv1.Entry { return &planv1.Entry{Name: name, Value: v} }

// sh is a run step; each option changes it.
func sh(script string, options ...func(*planv1.Step)) *planv1.Step {
	s := &planv1.Step{Condition: "success()", Kind: &planv1.Step_Run{Run: &planv1.Run{Script: lit(script)}}}
	for _, o := range options {
		o(s)
	}
	return s
}

func uses(name string, with ...*planv1.Entry) *planv1.Step {
	return &planv1.Step{Condition: "success()", Kind: &planv1.Step_Native{Native: &planv1.Native{Name: name, Uses: "actions/" + name + "@v4", With: with}}}
}

func id(s string) func(*planv1.Step)   { return func(x *planv1.Step) { x.Id = s } }
func cond(s string) func(*planv1.Step) { return func(x *planv1.Step) { x.Condition = s } }

func job(attempt string, steps ...*planv1.Step) *fleetv1.Assignment {
	return &fleetv1.Assignment{
		RunId: "run1", JobId: "build", JobName: "build", AttemptId: attempt, Attempt: 1, Image: "img@sha256:0",
		Job:      &planv1.Job{Id: "build", Steps: steps},
		Contexts: `{"github":{"repository":"o/r","sha":"abc","event":{"n":1}},"matrix":{"node":"20"},"needs":{},"strategy":{},"inputs":{},"vars":{}}`,
	}
}

// step returns a step's status in the final report.
func step(t *testing.T, a *agenttest.Attempt, n uint32) *corev1.StepStatus {
	t.Helper()
	for _, s := range a.Last().GetSteps() {
		if s.GetNumber() == n {
			return s
		}
	}
	t.Fatalf("step %d is not in the report", n)
	return nil
}

func logOf(a *agenttest.Attempt, n uint32) string {
	if l := a.Logs[n]; l != nil {
		return string(l.Bytes)
	}
	return ""
}

func conclusions(a *agenttest.Attempt) string {
	var out []string
	for _, s := range a.Last().GetSteps() {
		out = append(out, fmt.Sprintf("%d:%s", s.GetNumber(), strings.ToLower(strings.TrimPrefix(s.GetConclusion().String(), "RESULT_"))))
	}
	return strings.Join(out, " ")
}

func (h *host) pods() []string {
	ids, _ := h.world.Open().List(context.Background())
	return ids
}

var _ sandbox.Sandbox = (*fake.Sandbox)(nil)
