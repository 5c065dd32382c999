// Package sandboxtest is the contract of sandbox.Sandbox as tests: every implementation passes Run.
package sandboxtest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/agent/sandbox"
)

// Backend is a host on which the suite runs an implementation.
type Backend interface {
	// Open returns a sandbox on the host. The suite closes it and opens another, as an agent's restart does.
	Open(t *testing.T) sandbox.Sandbox
	// Image is one in which Programs run.
	Image() string
	// Service is a side container of a kind.
	Service(kind ServiceKind) sandbox.Service
	// KillPod ends a pod's job container from outside, as the OOM killer might.
	KillPod(t *testing.T, id string)
	// Leaks names what is left on the host that belongs to a pod. The suite asks when every pod was removed; the
	// backend waits for what goes away by itself.
	Leaks(t *testing.T) []string
}

// Limited is a Backend whose sandbox can't do everything that a PodSpec can ask for. The suite then checks that it refuses
// that with ErrUnsupported, instead of what it would check.
type Limited interface {
	Unsupported() []Capability
}

// Shaping is a Backend that changes every pod that the suite makes: to one of another isolation, say.
type Shaping interface {
	Shape(spec *sandbox.PodSpec)
}

// Capability is something that a sandbox may lack.
type Capability string

// The capabilities that a sandbox may lack.
const (
	// Services are side containers.
	Services Capability = "services"
	// Images are file systems for jobs, `container:`, and for single steps, `image:`.
	Images Capability = "images"
	// NoEgress is keeping a pod off the network.
	NoEgress Capability = "no egress"
)

// lacks is whether the backend declares that it can't do something.
func (s *suite) lacks(c Capability) bool {
	l, ok := s.backend.(Limited)
	return ok && slices.Contains(l.Unsupported(), c)
}

// ServiceKind says how a service behaves.
type ServiceKind int

// The kinds of services that the suite needs.
const (
	// Healthy becomes healthy after a moment.
	Healthy ServiceKind = iota
	// Dying exits with code 3 after writing "no space for data" to its log.
	Dying
	// Sick runs but never becomes healthy.
	Sick
)

// patience is far more than anything in the suite takes.
const patience = 60 * time.Second

type suite struct {
	backend Backend
	dir     string
	opened  []sandbox.Sandbox
}

// Run tests an implementation.
func Run(t *testing.T, b Backend) {
	s := &suite{backend: b, dir: t.TempDir()}
	for _, c := range []struct {
		name string
		test func(*testing.T)
	}{
		{"StepOutputAndExit", s.stepOutputAndExit},
		{"StartIsIdempotent", s.startIsIdempotent},
		{"UnknownStepsAndPods", s.unknown},
		{"CommandThatCanNotRun", s.badCommand},
		{"SecondStepWhileOneRuns", s.secondStep},
		{"Timeout", s.timeout},
		{"StopWithGrace", s.stopWithGrace},
		{"StopKills", s.stopKills},
		{"WaitIsCancelled", s.waitCancelled},
		{"AttachToRunningStep", s.attachRunning},
		{"AttachToEndedStep", s.attachEnded},
		{"PodLost", s.podLost},
		{"LeaseOver", s.leaseOver},
		{"CreateTwice", s.createTwice},
		{"CreateCancelled", s.createCancelled},
		{"Services", s.services},
		{"ServiceDies", s.serviceDies},
		{"ServiceNeverHealthy", s.serviceSick},
		{"StepWithAnImage", s.stepImage},
		{"StepWithAnImageIsStopped", s.stepImageStopped},
		{"AttachToStepWithAnImage", s.stepImageAttached},
		{"RemoveIsIdempotent", s.removeTwice},
		{"WhatItLacksIsRefused", s.refusals},
		{"ConsoleOfPipes", s.consolePipes},
		{"ConsoleOnATerminal", s.consoleTerminal},
		{"ConsoleInTheContainerOfAnImage", s.consoleInImage},
		{"ConsoleEndsWithItsAgent", s.consoleEnds},
	} {
		t.Run(c.name, c.test)
	}
	if t.Failed() {
		return
	}
	for _, leak := range b.Leaks(t) {
		t.Errorf("left behind: %s", leak)
	}
}

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// open gives a sandbox that is closed with the test.
func (s *suite) open(t *testing.T) sandbox.Sandbox {
	t.Helper()
	sb := s.backend.Open(t)
	s.opened = append(s.opened, sb)
	t.Cleanup(func() {
		if err := sb.Close(); err != nil {
			t.Errorf("closing the sandbox: %v", err)
		}
	})
	return sb
}

func podID(t *testing.T) string {
	name := t.Name()
	return "pod-" + strings.ToLower(name[strings.LastIndexByte(name, '/')+1:])
}

func (s *suite) spec(t *testing.T) sandbox.PodSpec {
	spec := sandbox.PodSpec{
		ID: podID(t), Image: s.backend.Image(), Env: []string{"FROM_POD=pod", "BOTH=pod"}, Labels: map[string]string{"run": "test"},
		Egress: s.lacks(NoEgress),
	}
	if b, ok := s.backend.(Shaping); ok {
		b.Shape(&spec)
	}
	return spec
}

// pod creates a pod that is removed when the test ends.
func (s *suite) pod(t *testing.T, sb sandbox.Sandbox) sandbox.Pod {
	t.Helper()
	s.removeLater(t, podID(t))
	p, err := sb.Create(testContext(t), s.spec(t), nil)
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	return p
}

// removeLater removes a pod through a new sandbox, as an agent does that finds it after a restart.
func (s *suite) removeLater(t *testing.T, id string) {
	t.Cleanup(func() {
		for _, sb := range s.opened {
			if err := sb.Close(); err != nil {
				t.Errorf("closing the sandbox: %v", err)
			}
		}
		s.opened = nil
		sb := s.backend.Open(t)
		defer sb.Close()
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := sb.Remove(ctx, id); err != nil {
			t.Errorf("remove: %v", err)
		}
		ids, err := sb.List(ctx)
		if err != nil {
			t.Errorf("list: %v", err)
		}
		for _, other := range ids {
			if other == id {
				t.Errorf("pod %s is listed after Remove", id)
			}
		}
	})
}

func (s *suite) output(t *testing.T, step string) string {
	return filepath.Join(s.dir, podID(t)+"-"+step+".log")
}

func (s *suite) read(t *testing.T, step string) string {
	t.Helper()
	data, err := os.ReadFile(s.output(t, step))
	if err != nil {
		t.Fatalf("output: %v", err)
	}
	return string(data)
}

func (s *suite) step(t *testing.T, id string, p Program) sandbox.StepSpec {
	return sandbox.StepSpec{ID: id, Argv: p.Argv(), Env: []string{"BOTH=step"}, Output: s.output(t, id)}
}

func (s *suite) start(t *testing.T, pod sandbox.Pod, spec sandbox.StepSpec) {
	t.Helper()
	if err := pod.Start(testContext(t), spec); err != nil {
		t.Fatalf("start: %v", err)
	}
}

func (s *suite) wait(t *testing.T, pod sandbox.Pod, step string) sandbox.Exit {
	t.Helper()
	exit, err := pod.Wait(testContext(t), step)
	if err != nil {
		t.Fatalf("wait: %v", err)
	}
	return exit
}

// says blocks until the output of step a holds text. Output is a file; nothing but looking tells when it grew.
func (s *suite) says(t *testing.T, text string) {
	t.Helper()
	ctx := testContext(t)
	for !strings.Contains(s.read(t, "a"), text) {
		select {
		case <-time.After(2 * time.Millisecond):
		case <-ctx.Done():
			t.Fatalf("step a never said %q: %q", text, s.read(t, "a"))
		}
	}
}

func describe(e sandbox.Exit) string { return fmt.Sprintf("%+v", e) }
