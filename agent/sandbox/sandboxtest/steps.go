package sandboxtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/agent/sandbox"
)

func (s *suite) stepOutputAndExit(t *testing.T) {
	pod := s.pod(t, s.open(t))
	if pod.ID() != podID(t) {
		t.Errorf("id %q, want %q", pod.ID(), podID(t))
	}
	s.start(t, pod, s.step(t, "ok", hello))
	if exit := s.wait(t, pod, "ok"); exit.Code != 0 || exit.Signal != 0 || exit.TimedOut || exit.OOMKilled {
		t.Errorf("exit %s", describe(exit))
	}
	if want := "pod step\nto stderr\n"; s.read(t, "ok") != want {
		t.Errorf("output %q, want %q", s.read(t, "ok"), want)
	}
	info, err := os.Stat(s.output(t, "ok"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("output's mode %v, %v", info.Mode(), err)
	}
	s.start(t, pod, s.step(t, "bad", fail))
	for range 2 {
		if exit := s.wait(t, pod, "bad"); exit.Code != 42 {
			t.Errorf("exit %s, want code 42", describe(exit))
		}
	}
}

func (s *suite) startIsIdempotent(t *testing.T) {
	pod := s.pod(t, s.open(t))
	spec := s.step(t, "a", appendOne)
	for range 3 {
		s.start(t, pod, spec)
		s.wait(t, pod, "a")
	}
	if s.read(t, "a") != "one\n" {
		t.Errorf("output %q: the step ran more than once", s.read(t, "a"))
	}
}

func (s *suite) unknown(t *testing.T) {
	sb := s.open(t)
	pod := s.pod(t, sb)
	if _, err := pod.Wait(testContext(t), "never"); !errors.Is(err, sandbox.ErrNotFound) {
		t.Errorf("wait for an unknown step: %v", err)
	}
	if err := pod.Stop(testContext(t), "never", 0); !errors.Is(err, sandbox.ErrNotFound) {
		t.Errorf("stop of an unknown step: %v", err)
	}
	if _, err := sb.Attach(testContext(t), "no-such-pod"); !errors.Is(err, sandbox.ErrNotFound) {
		t.Errorf("attach to an unknown pod: %v", err)
	}
}

func (s *suite) badCommand(t *testing.T) {
	pod := s.pod(t, s.open(t))
	spec := s.step(t, "a", hello)
	spec.Argv = nil
	s.start(t, pod, spec)
	if exit := s.wait(t, pod, "a"); exit.Code != 126 || exit.Message == "" {
		t.Errorf("exit %s, want code 126 and a message", describe(exit))
	}
}

func (s *suite) secondStep(t *testing.T) {
	pod := s.pod(t, s.open(t))
	s.start(t, pod, s.step(t, "a", forever))
	s.start(t, pod, s.step(t, "b", hello))
	if exit := s.wait(t, pod, "b"); exit.Code != 126 || !strings.Contains(exit.Message, "running") {
		t.Errorf("exit %s of a second step", describe(exit))
	}
	if err := pod.Stop(testContext(t), "a", 0); err != nil {
		t.Errorf("stop: %v", err)
	}
}

func (s *suite) timeout(t *testing.T) {
	pod := s.pod(t, s.open(t))
	spec := s.step(t, "a", stubborn)
	spec.Timeout, spec.Grace = 200*time.Millisecond, 100*time.Millisecond
	s.start(t, pod, spec)
	if exit := s.wait(t, pod, "a"); !exit.TimedOut || exit.Code != 137 || exit.Signal != 9 {
		t.Errorf("exit %s, want timed out by KILL", describe(exit))
	}
}

func (s *suite) stopWithGrace(t *testing.T) {
	pod := s.pod(t, s.open(t))
	s.start(t, pod, s.step(t, "a", polite))
	s.says(t, "ready")
	if err := pod.Stop(testContext(t), "a", patience); err != nil {
		t.Fatalf("stop: %v", err)
	}
	if exit := s.wait(t, pod, "a"); exit.Code != 9 || exit.TimedOut {
		t.Errorf("exit %s, want code 9", describe(exit))
	}
	if !strings.HasSuffix(s.read(t, "a"), "bye\n") {
		t.Errorf("output %q", s.read(t, "a"))
	}
	if err := pod.Stop(testContext(t), "a", 0); err != nil {
		t.Errorf("stop of an ended step: %v", err)
	}
}

func (s *suite) stopKills(t *testing.T) {
	pod := s.pod(t, s.open(t))
	s.start(t, pod, s.step(t, "a", stubborn))
	s.says(t, "ready")
	if err := pod.Stop(testContext(t), "a", 50*time.Millisecond); err != nil {
		t.Fatalf("stop: %v", err)
	}
	if exit := s.wait(t, pod, "a"); exit.Code != 137 || exit.Signal != 9 {
		t.Errorf("exit %s, want killed", describe(exit))
	}
}

func (s *suite) waitCancelled(t *testing.T) {
	pod := s.pod(t, s.open(t))
	s.start(t, pod, s.step(t, "a", polite))
	s.says(t, "ready")
	ctx, cancel := context.WithCancel(testContext(t))
	result := make(chan error, 1)
	go func() {
		_, err := pod.Wait(ctx, "a")
		result <- err
	}()
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled wait: %v", err)
	}
	if err := pod.Stop(testContext(t), "a", patience); err != nil {
		t.Fatal(err)
	}
	if exit := s.wait(t, pod, "a"); exit.Code != 9 {
		t.Errorf("exit %s: the cancelled wait ended the step", describe(exit))
	}
}

func (s *suite) counted(t *testing.T, pod sandbox.Pod) {
	t.Helper()
	if exit := s.wait(t, pod, "a"); exit.Code != 5 {
		t.Errorf("exit %s, want code 5", describe(exit))
	}
	var want strings.Builder
	for i := range lines {
		fmt.Fprintf(&want, "line %d\n", i)
	}
	if s.read(t, "a") != want.String() {
		t.Errorf("output of %d bytes, want %d: bytes were lost or doubled", len(s.read(t, "a")), want.Len())
	}
	s.start(t, pod, s.step(t, "a", count))
	if s.read(t, "a") != want.String() {
		t.Error("the step was started again")
	}
}

func (s *suite) attachRunning(t *testing.T) {
	first := s.open(t)
	s.start(t, s.pod(t, first), s.step(t, "a", count))
	if err := first.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	second := s.open(t)
	pod, err := second.Attach(testContext(t), podID(t))
	if err != nil {
		t.Fatalf("attach: %v", err)
	}
	s.counted(t, pod)
	s.start(t, pod, s.step(t, "b", hello))
	s.wait(t, pod, "b")
	if want := "pod step\nto stderr\n"; s.read(t, "b") != want {
		t.Errorf("output %q after attach, want %q", s.read(t, "b"), want)
	}
}

func (s *suite) attachEnded(t *testing.T) {
	first := s.open(t)
	s.start(t, s.pod(t, first), s.step(t, "a", count))
	if err := first.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	s.says(t, fmt.Sprintf("line %d\n", lines-1)) // its agent was away when it ended
	pod, err := s.open(t).Attach(testContext(t), podID(t))
	if err != nil {
		t.Fatalf("attach: %v", err)
	}
	s.counted(t, pod)
}
