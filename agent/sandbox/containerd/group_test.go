package containerd_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/agent/sandbox/cgroup"
)

// away starts a process that leaves its step in every way it can: a session of its own, a parent that is gone, TERM ignored.
const away = `setsid sh -c '(trap "" TERM; : >/tmp/up; exec sleep 7654) &' </dev/null; until test -f /tmp/up; do sleep 0.01; done; rm /tmp/up; `

// alive is whether the pod has a process that away started.
func alive(t *testing.T, h *host, pod sandbox.Pod) bool {
	t.Helper()
	exit, _ := sh(t, h, pod, "ps -o args | grep -q '^sleep 7654$'")
	return exit.Code == 0
}

func TestProcessesThatForkAway(t *testing.T) {
	h, sb := opened(t)
	pod := create(t, sb, sandbox.PodSpec{ID: "p", Image: h.image})
	exit, _ := sh(t, h, pod, away+"sleep 3600", func(s *sandbox.StepSpec) { s.Timeout, s.Grace = 500*time.Millisecond, 100*time.Millisecond })
	if exit.Kind() != sandbox.KindTimedOut || !exit.Killed || exit.Signal != 15 {
		t.Errorf("timed out: %+v", exit)
	}
	if alive(t, h, pod) {
		t.Error("a process that had left its step outlived the step's time-out")
	}
	exit, _ = sh(t, h, pod, away+"exit 3")
	if exit.Kind() != sandbox.KindFailed || exit.Code != 3 || exit.Left != 1 {
		t.Errorf("ended by itself: %+v", exit)
	}
	if !alive(t, h, pod) {
		t.Error("a process that a step left behind did not live on")
	}
	// Stopping another step leaves it alone.
	if exit, _ := sh(t, h, pod, "sleep 3600", func(s *sandbox.StepSpec) { s.Timeout = 50 * time.Millisecond }); exit.Signal != 9 {
		t.Errorf("a second step: %+v", exit)
	}
	if !alive(t, h, pod) {
		t.Error("stopping a step ended what an earlier one had left")
	}
}

func TestStopEndsAForkBomb(t *testing.T) {
	h, sb := opened(t)
	pod := create(t, sb, sandbox.PodSpec{ID: "p", Image: h.image, Resources: sandbox.Resources{PIDs: 200}})
	// Many that fork all the time, each in a session of its own; a shell that may not fork ends, so some do.
	exit, out := sh(t, h, pod, `(for i in $(seq 150); do setsid sh -c 'trap "" TERM; while :; do sleep 0.01 & wait; done' & done) 2>/dev/null & exec sleep 3600 2>/dev/null`,
		func(s *sandbox.StepSpec) { s.Timeout, s.Grace = time.Second, 50*time.Millisecond })
	if exit.Kind() != sandbox.KindTimedOut || exit.ForksRefused == 0 || exit.Left != 0 {
		t.Errorf("%+v %.200s", exit, out)
	}
	if exit, out := sh(t, h, pod, "ps -o args | grep '[s]leep'"); exit.Code != 1 {
		t.Errorf("after a fork bomb these run: %s", out)
	}
}

func TestLeftoversAndTheProcessLimit(t *testing.T) {
	h, sb := opened(t)
	pod := create(t, sb, sandbox.PodSpec{ID: "p", Image: h.image, Resources: sandbox.Resources{PIDs: 20}})
	exit, _ := sh(t, h, pod, "for i in $(seq 40); do setsid sleep 3600 & done; sleep 0.2; exit 1")
	if exit.Kind() != sandbox.KindProcessLimit || exit.ForksRefused == 0 {
		t.Errorf("40 processes in a pod with 20: %+v", exit)
	}
	var last sandbox.Exit
	for range 3 { // fills what is left
		last, _ = sh(t, h, pod, "while true; do setsid sleep 3600 & done")
	}
	if last.Kind() != sandbox.KindCannotStart || last.Cause != sandbox.CauseProcesses || last.Code != 126 ||
		!strings.Contains(last.Message, " left 1") || !strings.Contains(last.Message, "limit of processes") {
		t.Errorf("a step that finds no room: %+v", last)
	}
}

func TestMemoryOfOneStep(t *testing.T) {
	h, sb := opened(t)
	pod := create(t, sb, sandbox.PodSpec{ID: "p", Image: h.image, Resources: sandbox.Resources{Memory: 64 << 20}})
	// The first step leaves something behind that runs out of memory under the second.
	sh(t, h, pod, "setsid sh -c 'until test -f /tmp/go; do sleep 0.01; done; tail /dev/zero; touch /tmp/dead' & sleep 0.1")
	exit, out := sh(t, h, pod, "touch /tmp/go; until test -f /tmp/dead; do sleep 0.01; done; exit 7")
	if exit.OOMKilled || exit.Kind() != sandbox.KindFailed {
		t.Errorf("a step is blamed for another's memory: %+v %s", exit, out)
	}
	if exit, _ := sh(t, h, pod, "tail /dev/zero"); exit.Kind() != sandbox.KindOutOfMemory {
		t.Errorf("out of memory: %+v", exit)
	}
	if exit, _ := sh(t, h, pod, "tail /dev/zero", func(s *sandbox.StepSpec) { s.Resources.Memory = 16 << 20 }); !exit.OOMKilled {
		t.Errorf("a step's own limit: %+v", exit)
	}
}

func TestStepGroupsGo(t *testing.T) {
	h, sb := opened(t)
	pod := create(t, sb, sandbox.PodSpec{ID: "p", Image: h.image})
	for range 3 {
		sh(t, h, pod, "true")
	}
	groups, err := cgroup.Detect()
	if err != nil {
		t.Fatal(err)
	}
	steps := filepath.Join(h.cfg.CgroupParent, "p", "job", "steps")
	if len(groups.Exists(steps)) == 0 {
		t.Error("steps have no control groups")
	}
	if err := sb.Close(); err != nil { // which waits for what is done later
		t.Error(err)
	}
	for _, dir := range groups.Exists(steps) {
		entries, err := os.ReadDir(dir)
		for _, e := range entries {
			if e.IsDir() {
				err = errors.Join(err, fmt.Errorf("%s is left", e.Name()))
			}
		}
		if err != nil {
			t.Error(err)
		}
	}
}

// TestStopWhileTheAgentIsAway: the time-out of a step that forks away holds without an agent.
func TestTimeoutWhileTheAgentIsAway(t *testing.T) {
	h := newHost(t)
	h.killAgentAt(t, agentScript{
		Pod: sandbox.PodSpec{ID: "p", Image: h.image},
		Step: sandbox.StepSpec{
			ID: "a", Output: filepath.Join(h.dir, "out"), Argv: []string{"sh", "-c", away + "sleep 3600"}, Timeout: 600 * time.Millisecond,
		},
	}, "started")
	exitFile := filepath.Join(h.cfg.Dir, "pods/p/steps/a.exit")
	ctx := within(t)
	for info, err := os.Stat(exitFile); err != nil || info.Size() == 0; info, err = os.Stat(exitFile) {
		select {
		case <-ctx.Done():
			t.Fatal(context.Cause(ctx))
		case <-time.After(10 * time.Millisecond):
		}
	}
	sb := h.open(t)
	defer sb.Close()
	pod, err := sb.Attach(ctx, "p")
	if err != nil {
		t.Fatal(err)
	}
	if exit, err := pod.Wait(ctx, "a"); err != nil || exit.Kind() != sandbox.KindTimedOut {
		t.Errorf("%+v, %v", exit, err)
	}
	if alive(t, h, pod) {
		t.Error("a process that had left its step outlived the step's time-out")
	}
}
