package sandboxtest

import (
	"errors"
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/agent/sandbox"
)

// annexed is a pod with an image for single steps.
func (s *suite) annexed(t *testing.T, sb sandbox.Sandbox) sandbox.Pod {
	t.Helper()
	spec := s.spec(t)
	spec.StepImages = []string{s.backend.Image()}
	s.removeLater(t, spec.ID)
	pod, err := sb.Create(testContext(t), spec, nil)
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	return pod
}

// inImage is a step in the pod's second image.
func (s *suite) inImage(t *testing.T, id string, p Program) sandbox.StepSpec {
	step := s.step(t, id, p)
	step.Image = s.backend.Image()
	return step
}

func (s *suite) stepImage(t *testing.T) {
	if s.lacks(Images) {
		return // refusals has it
	}
	pod := s.annexed(t, s.open(t))
	s.start(t, pod, s.step(t, "job", fail))
	s.wait(t, pod, "job")
	for range 2 { // a second start does nothing
		s.start(t, pod, s.inImage(t, "a", count))
	}
	if exit := s.wait(t, pod, "a"); exit.Code != 5 || strings.Count(s.read(t, "a"), "line ") != lines {
		t.Errorf("exit %s, output of %d bytes", describe(exit), len(s.read(t, "a")))
	}
	s.start(t, pod, s.step(t, "b", hello))
	if exit := s.wait(t, pod, "b"); exit.Code != 0 {
		t.Errorf("a step of the job after it: %s", describe(exit))
	}
	other := s.inImage(t, "c", hello)
	other.Image = "example.test/other@sha256:" + strings.Repeat("0", 64)
	if err := pod.Start(testContext(t), other); !errors.Is(err, sandbox.ErrNotFound) {
		t.Errorf("an image that the pod does not have: %v", err)
	}
}

func (s *suite) stepImageStopped(t *testing.T) {
	if s.lacks(Images) {
		return
	}
	pod := s.annexed(t, s.open(t))
	s.start(t, pod, s.inImage(t, "a", polite))
	s.says(t, "ready")
	if err := pod.Stop(testContext(t), "a", patience); err != nil {
		t.Fatal(err)
	}
	if exit := s.wait(t, pod, "a"); exit.Code != 9 || !exit.Stopped || !strings.HasSuffix(s.read(t, "a"), "bye\n") {
		t.Errorf("exit %s, output %q", describe(exit), s.read(t, "a"))
	}
}

// stepImageAttached: the step outlives its agent, and another step runs in the same container after.
func (s *suite) stepImageAttached(t *testing.T) {
	if s.lacks(Images) {
		return
	}
	first := s.open(t)
	pod := s.annexed(t, first)
	s.start(t, pod, s.inImage(t, "a", polite))
	s.says(t, "ready")
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	pod, err := s.open(t).Attach(testContext(t), podID(t))
	if err != nil {
		t.Fatal(err)
	}
	s.start(t, pod, s.inImage(t, "a", polite))
	if err := pod.Stop(testContext(t), "a", patience); err != nil {
		t.Fatal(err)
	}
	if exit := s.wait(t, pod, "a"); exit.Code != 9 {
		t.Errorf("exit %s", describe(exit))
	}
	s.start(t, pod, s.inImage(t, "b", fail))
	if exit := s.wait(t, pod, "b"); exit.Code != 42 {
		t.Errorf("the next step: %s", describe(exit))
	}
}
