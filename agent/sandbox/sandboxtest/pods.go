package sandboxtest

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/agent/sandbox"
)

// leaseOver: a lease that is renewed bounds nothing; the last one runs out without an agent, and for good.
func (s *suite) leaseOver(t *testing.T) {
	first := s.open(t)
	pod := s.pod(t, first)
	pod.Lease(time.Hour, 0)
	s.start(t, pod, s.step(t, "a", forever))
	s.says(t, "ready")
	pod.Lease(50*time.Millisecond, 0)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	pod, err := s.open(t).Attach(testContext(t), podID(t))
	if err != nil {
		t.Fatalf("attach: %v", err)
	}
	if exit, err := pod.Wait(testContext(t), "a"); !errors.Is(err, sandbox.ErrPodLost) {
		t.Errorf("wait: %v %v, want ErrPodLost", describe(exit), err)
	}
	pod.Lease(time.Hour, 0)
	err = pod.Start(testContext(t), s.step(t, "b", hello))
	if err == nil {
		_, err = pod.Wait(testContext(t), "b")
	}
	if !errors.Is(err, sandbox.ErrPodLost) {
		t.Errorf("a step after the lease: %v, want ErrPodLost", err)
	}
	if out, err := os.ReadFile(s.output(t, "b")); len(out) > 0 || err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it said %q, %v", out, err)
	}
}

func (s *suite) podLost(t *testing.T) {
	sb := s.open(t)
	pod := s.pod(t, sb)
	s.start(t, pod, s.step(t, "done", hello))
	s.wait(t, pod, "done")
	s.start(t, pod, s.step(t, "a", forever))
	s.says(t, "ready")
	s.backend.KillPod(t, podID(t))
	if _, err := pod.Wait(testContext(t), "a"); !errors.Is(err, sandbox.ErrPodLost) {
		t.Errorf("wait: %v, want ErrPodLost", err)
	}
	if err := pod.Stop(testContext(t), "a", 0); err != nil {
		t.Errorf("stop in a lost pod: %v", err)
	}
	if err := pod.Start(testContext(t), s.step(t, "b", hello)); !errors.Is(err, sandbox.ErrPodLost) {
		t.Errorf("start: %v, want ErrPodLost", err)
	}
	if exit := s.wait(t, pod, "done"); exit.Code != 0 {
		t.Errorf("an earlier step's exit is lost: %s", describe(exit))
	}
}

func (s *suite) createTwice(t *testing.T) {
	sb := s.open(t)
	pod := s.pod(t, sb)
	if _, err := sb.Create(testContext(t), s.spec(t), nil); err == nil {
		t.Error("a second pod with the same id was created")
	}
	s.start(t, pod, s.step(t, "a", hello))
	if exit := s.wait(t, pod, "a"); exit.Code != 0 {
		t.Errorf("the first pod was harmed: %s", describe(exit))
	}
}

func (s *suite) createCancelled(t *testing.T) {
	sb := s.open(t)
	ctx, cancel := context.WithCancel(testContext(t))
	spec := s.spec(t)
	if !s.lacks(Services) {
		spec.Services = []sandbox.Service{s.backend.Service(Sick)}
	}
	s.removeLater(t, spec.ID)
	_, err := sb.Create(ctx, spec, func(string) { cancel() })
	cancel()
	if err == nil {
		t.Fatal("a cancelled create succeeded")
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("create: %v, want context.Canceled", err)
	}
	s.absent(t, sb, spec.ID)
}

// absent checks that nothing is left after a failed Create.
func (s *suite) absent(t *testing.T, sb sandbox.Sandbox, id string) {
	t.Helper()
	ids, err := sb.List(testContext(t))
	if err != nil || slices.Contains(ids, id) {
		t.Errorf("list %v, %v: %s should be gone", ids, err, id)
	}
	if _, err := sb.Attach(testContext(t), id); !errors.Is(err, sandbox.ErrNotFound) {
		t.Errorf("attach: %v, want ErrNotFound", err)
	}
}

func (s *suite) services(t *testing.T) {
	if s.lacks(Services) {
		return // refusals has it
	}
	sb := s.open(t)
	spec := s.spec(t)
	spec.Services = []sandbox.Service{s.backend.Service(Healthy)}
	s.removeLater(t, spec.ID)
	var lines []string
	pod, err := sb.Create(testContext(t), spec, func(line string) { lines = append(lines, line) })
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	if !slices.Contains(lines, spec.Services[0].Name+" is healthy") {
		t.Errorf("progress %q", lines)
	}
	s.start(t, pod, s.step(t, "a", hello))
	s.wait(t, pod, "a")
}

func (s *suite) serviceDies(t *testing.T) {
	s.badService(t, Dying, "3", "no space for data")
}

func (s *suite) serviceSick(t *testing.T) {
	s.badService(t, Sick, "health check failed")
}

func (s *suite) badService(t *testing.T, kind ServiceKind, says ...string) {
	if s.lacks(Services) {
		return // refusals has it
	}
	sb := s.open(t)
	spec := s.spec(t)
	spec.Services = []sandbox.Service{s.backend.Service(kind)}
	s.removeLater(t, spec.ID)
	_, err := sb.Create(testContext(t), spec, nil)
	if !errors.Is(err, sandbox.ErrUnhealthy) {
		t.Fatalf("create: %v, want ErrUnhealthy", err)
	}
	for _, text := range append(says, spec.Services[0].Name) {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("error %q does not say %q", err, text)
		}
	}
	s.absent(t, sb, spec.ID)
}

func (s *suite) removeTwice(t *testing.T) {
	sb := s.open(t)
	pod := s.pod(t, sb)
	s.start(t, pod, s.step(t, "a", stubborn))
	for range 2 {
		if err := sb.Remove(testContext(t), podID(t)); err != nil {
			t.Fatalf("remove: %v", err)
		}
	}
	if err := sb.Remove(testContext(t), "never-was"); err != nil {
		t.Errorf("remove of nothing: %v", err)
	}
	s.absent(t, sb, podID(t))
}

// refusals checks that what the backend declares to lack is refused before anything starts, and the rest is not.
func (s *suite) refusals(t *testing.T) {
	sb := s.open(t)
	for _, r := range []struct {
		c   Capability
		ask func(*sandbox.PodSpec)
	}{
		{Services, func(p *sandbox.PodSpec) { p.Services = []sandbox.Service{s.backend.Service(Healthy)} }},
		{Images, func(p *sandbox.PodSpec) { p.Container = true }},
		{Images, func(p *sandbox.PodSpec) { p.StepImages = []string{s.backend.Image()} }},
		{Images, func(p *sandbox.PodSpec) { p.Mounts = []sandbox.Mount{{Volume: "data", Target: "/data"}} }},
		{NoEgress, func(p *sandbox.PodSpec) { p.Egress = false }},
	} {
		c := r.c
		if !s.lacks(c) {
			continue // other tests have it
		}
		spec := s.spec(t)
		r.ask(&spec)
		s.removeLater(t, spec.ID)
		said := false
		_, err := sb.Create(testContext(t), spec, func(string) { said = true })
		if !errors.Is(err, sandbox.ErrUnsupported) || said {
			t.Errorf("a pod with %s: %v, want ErrUnsupported; begun: %v", c, err, said)
		}
		s.absent(t, sb, spec.ID)
	}
}
