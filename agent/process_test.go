package agent_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/agent"
	"github.com/slipway-ci/slipway/agent/sandbox/fake"
	"github.com/slipway-ci/slipway/agent/sandbox/process"
	"github.com/slipway-ci/slipway/agent/supervisor/embedded"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// upWithProcesses starts the host's agent with the process sandbox instead of the fake.
func (h *host) upWithProcesses() {
	h.t.Helper()
	if _, err := embedded.Binary(); err != nil {
		h.t.Skip(err)
	}
	log := slog.New(slog.NewTextHandler(&syncWriter{h: h}, nil))
	sb, err := process.New(context.Background(), process.Config{Dir: filepath.Join(h.dir, "processes"), CgroupParent: process.NoGroups, ToolCache: h.dir, Log: log})
	if err != nil {
		h.t.Fatal(err)
	}
	a, err := agent.New(h.cfg, sb, log)
	if err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	h.t.Cleanup(func() {
		if h.stop == nil {
			return // a later one cleans up
		}
		h.c.Wait("every pod is removed", func() bool {
			left, err := sb.List(context.Background())
			return err == nil && len(left) == 0
		})
		h.down()
	})
	h.stop = func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
			h.t.Errorf("agent: %v", err)
		}
		if err := sb.Close(); err != nil {
			h.t.Error(err)
		}
	}
}

func TestAJobWithoutContainers(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.upWithProcesses()
	a := job("a1",
		sh("pwd; echo made > file.txt; printf 'tools=%s\\n' \"$RUNNER_TOOL_CACHE\"; echo greeting=hello >> $GITHUB_OUTPUT; echo /opt/own/bin >> $GITHUB_PATH; test -s $GITHUB_EVENT_PATH; test $HOME != /root", id("one")),
		sh("cat file.txt; echo $PATH | cut -d: -f1; echo $RUNNER_WORKSPACE; cat $RUNNER_TEMP/none || true"),
		&planv1.Step{Condition: "success()", WorkingDirectory: lit("sub"), Kind: &planv1.Step_Run{Run: &planv1.Run{Script: lit("pwd"), Shell: lit("sh")}}},
		sh("", func(s *planv1.Step) {
			s.Kind = &planv1.Step_Run{Run: &planv1.Run{Script: exp("format('echo {0} {1} {2}', github.workspace, steps.one.outputs.greeting, hashFiles('file.txt') != '')")}}
			s.Condition = "always()"
		}),
	)
	h.c.Offer(a)
	got := h.c.WaitDone("a1")
	workspace := filepath.Join(h.dir, "data/attempts/a1/workspace")
	if conclusions(got) != "0:success 1:success 2:success 3:failure 4:success 5:success" {
		t.Errorf("steps %s: %v\n%s", conclusions(got), got.Last().GetFailure(), logOf(got, 1))
	}
	for n, want := range map[uint32]string{
		0: "image img@sha256:0 is ignored",
		1: workspace + "\ntools=" + h.dir + "\n",
		2: "made\n/opt/own/bin\n" + filepath.Dir(workspace) + "\n",
		4: workspace + " hello true\n",
	} {
		if log := logOf(got, n); !strings.Contains(log, want) {
			t.Errorf("log %d is %q, want %q", n, log, want)
		}
	}
	if f := step(t, got, 3).GetFailure(); !strings.Contains(f.GetMessage(), workspace+"/sub") {
		t.Errorf("a directory that is missing: %v", f)
	}
}

func TestARestartWithoutContainersLosesNothing(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.upWithProcesses()
	h.c.Offer(job("a1", sh("i=0; while [ $i -lt 300 ]; do echo line $i; i=$((i+1)); sleep 0.003; done"), sh("echo after")))
	h.c.Wait("the step prints", func() bool { return strings.Contains(logOf(h.c.Attempt("a1"), 1), "line 3\n") })
	h.down()
	h.upWithProcesses()
	a := h.c.WaitDone("a1")
	if n := strings.Count(logOf(a, 1), "\n"); n != 300 || logOf(a, 2) != "after\n" || a.Last().GetResult() != corev1.Result_RESULT_SUCCESS {
		t.Errorf("%d lines, %q, %s", n, logOf(a, 2), a.Last().GetResult())
	}
}

func TestContainersAreRefusedWithoutContainers(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.upWithProcesses()
	a := job("a1", sh("echo no"))
	a.Job.Container = &planv1.Container{Image: lit("x")}
	b := job("b1", sh("echo no"))
	b.Job.Services = []*planv1.Service{{Name: "db", Container: &planv1.Container{Image: lit("pg")}}}
	b.Images = map[string]string{"pg": "pg@sha256:2"}
	for _, as := range []*fleetv1.Assignment{a, b} {
		h.c.Offer(as)
		got := h.c.WaitDone(as.GetAttemptId())
		if f := got.Last().GetFailure(); f.GetCode() != "unsupported" || f.GetFault() != corev1.Fault_FAULT_USER || conclusions(got) != "0:failure 2:success" {
			t.Errorf("%s: %v, steps %s", as.GetAttemptId(), f, conclusions(got))
		}
	}
}

func TestALabelThatTheCertificateMustHave(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.cfg.Label = "linux" // the token's
	h.up()
	run(t, h, "a1", sh("echo hello"))
	h.down()
	h.cfg.Label = "process"
	a, err := agent.New(h.cfg, h.world.Open(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Run(context.Background()); err == nil || !strings.Contains(err.Error(), "--labels process") {
		t.Errorf("without the label: %v", err)
	}
	select {
	case <-a.Ready():
		t.Error("ready, and it never worked")
	default:
	}
	if err := a.Alive(context.Background()); err != nil {
		t.Error(err)
	}
}
