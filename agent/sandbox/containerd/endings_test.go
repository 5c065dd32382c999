package containerd_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/agent/sandbox/containerd"
)

// stage is where one ending happens.
type stage struct {
	*host
	t   *testing.T
	sb  *containerd.Sandbox
	pod sandbox.Pod
	// disk is a small file system of its own, mounted at /disk.
	disk   string
	output string
	said   []string // progress of Create
}

// ending is a row of the table: a pod, a step, what happens to them, and the typed result.
type ending struct {
	name string
	pod  func(*stage, *sandbox.PodSpec)
	step func(*sandbox.StepSpec)
	// script is what the step runs, by sh.
	script string
	// before comes between Create and Start, during after the step has said "ready".
	before, during func(*testing.T, *stage)
	// annexed: the step has an image of its own.
	annexed bool
	// Either the step ends …
	kind sandbox.Kind
	code int
	// … or an error tells that it could not; check sees the one or the other.
	check func(t *testing.T, s *stage, exit sandbox.Exit, err error)
	// fails is whether Create or Wait gives an error.
	fails bool
}

// limit sets the step's time.
func limit(timeout, grace time.Duration) func(*sandbox.StepSpec) {
	return func(s *sandbox.StepSpec) { s.Timeout, s.Grace = timeout, grace }
}

// argv replaces the shell.
func argv(args ...string) func(*sandbox.StepSpec) {
	return func(s *sandbox.StepSpec) { s.Argv = args }
}

func resources(r sandbox.Resources) func(*stage, *sandbox.PodSpec) {
	return func(_ *stage, p *sandbox.PodSpec) { p.Resources = r }
}

// exits checks the fields of an exit that its kind does not tell.
func exits(f func(sandbox.Exit) bool) func(*testing.T, *stage, sandbox.Exit, error) {
	return func(t *testing.T, _ *stage, exit sandbox.Exit, _ error) {
		t.Helper()
		if !f(exit) {
			t.Errorf("%+v", exit)
		}
	}
}

// fails checks the type of an error, and that it is told to people.
func fails[E error](f func(E) bool, says ...string) func(*testing.T, *stage, sandbox.Exit, error) {
	return func(t *testing.T, _ *stage, _ sandbox.Exit, err error) {
		t.Helper()
		var e E
		if !errors.As(err, &e) || !f(e) {
			t.Errorf("%T: %v", err, err)
			return
		}
		for _, text := range says {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%v does not say %q", err, text)
			}
		}
	}
}

// stop ends the running step with this grace.
func stop(grace time.Duration) func(*testing.T, *stage) {
	return func(t *testing.T, s *stage) {
		if err := s.pod.Stop(within(t), "step", grace); err != nil {
			t.Error(err)
		}
	}
}

const (
	hang     = "echo ready; sleep 3600"
	stubborn = "trap '' TERM; echo ready; while :; do sleep 0.01; done"
	ms       = time.Millisecond
)

// TestEndings is every way in which a step or a pod can end, each with its typed result, and after each a look at the host.
func TestEndings(t *testing.T) {
	h := newHost(t)
	h.cfg.Network.Pool = -1 // idle namespaces would look like leftovers
	h.cfg.Pulls = containerd.Pulls{Tries: 3, Pause: 20 * ms, Progress: 100 * ms, Stall: time.Second}
	proxy := newFaultyRegistry(t, h.registry.Host())
	h.cfg.Registries[proxy.host()] = containerd.Registry{PlainHTTP: true}
	h.cfg.Registries[closedPort] = containerd.Registry{PlainHTTP: true}
	sb := h.open(t)
	defer sb.Close()
	create(t, sb, sandbox.PodSpec{ID: "warm", Image: h.image})
	if err := sb.Remove(within(t), "warm"); err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, group := range [][]ending{
		exitEndings, signalEndings, stopEndings, startEndings, limitEndings, diskEndings(), serviceEndings, imageEndings(t, h, proxy),
		createEndings, lossEndings, annexed(exitEndings, signalEndings, stopEndings, limitEndings[:4], annexEndings),
	} {
		for _, e := range group {
			if names[e.name] {
				t.Errorf("two endings are named %q", e.name)
			}
			names[e.name] = true
			t.Run(e.name, func(t *testing.T) { e.run(t, &stage{host: h, t: t, sb: sb}) })
		}
	}
	if len(names) < 40 {
		t.Errorf("only %d endings", len(names))
	}
}

func (e ending) run(t *testing.T, s *stage) {
	exit, err := e.play(t, s)
	switch {
	case e.fails != (err != nil):
		t.Errorf("exit %+v, error %v", exit, err)
	case err == nil && (exit.Kind() != e.kind || exit.Code != e.code):
		t.Errorf("kind %s, code %d, want %s, %d: %+v\n%s", exit.Kind(), exit.Code, e.kind, e.code, exit, s.read())
	case err == nil && exit.Kind() != sandbox.KindSucceeded && exit.Explain() == "":
		t.Errorf("a failure without an explanation: %+v", exit)
	}
	if e.check != nil {
		e.check(t, s, exit, err)
	}
	// Twice: what is seen once is seen for ever.
	if again, againErr := e.again(t, s); err == nil && (againErr != nil || again.Kind() != exit.Kind()) {
		t.Errorf("asked again: %+v, %v", again, againErr)
	}
	for range 2 {
		if err := s.sb.Remove(within(t), "p"); err != nil {
			t.Errorf("remove: %v", err)
		}
	}
	if s.disk != "" {
		if err := unix.Unmount(s.disk, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	}
	for _, leak := range s.Leaks(t) {
		t.Errorf("left behind: %s", leak)
	}
}

// play makes the pod, runs the step and lets happen what happens.
func (e ending) play(t *testing.T, s *stage) (sandbox.Exit, error) {
	spec := sandbox.PodSpec{ID: "p", Image: s.image}
	if e.pod != nil {
		e.pod(s, &spec)
	}
	ctx := within(t)
	if e.fails && e.script == "" { // nothing to run: Create is what fails
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, 30*time.Second)
		defer cancel()
	}
	if e.annexed {
		spec.StepImages = []string{s.image}
	}
	var err error
	s.pod, err = s.sb.Create(ctx, spec, func(line string) { s.said = append(s.said, line) })
	if err != nil {
		return sandbox.Exit{}, err
	}
	step := sandbox.StepSpec{ID: "step", Argv: []string{"sh", "-c", e.script}, Output: filepath.Join(t.TempDir(), "output"), Grace: 10 * time.Second}
	if e.annexed {
		step.Image = s.image
	}
	if e.step != nil {
		e.step(&step)
	}
	if step.Output == outputOnDisk {
		step.Output = filepath.Join(s.disk, "output")
	}
	s.output = step.Output
	if e.before != nil {
		e.before(t, s)
	}
	if err := s.pod.Start(ctx, step); err != nil {
		return sandbox.Exit{}, err
	}
	if e.during != nil {
		s.says(t, "ready")
		e.during(t, s)
	}
	return s.pod.Wait(ctx, "step")
}

func (e ending) again(t *testing.T, s *stage) (sandbox.Exit, error) {
	if s.pod == nil {
		return sandbox.Exit{}, nil
	}
	return s.pod.Wait(within(t), "step")
}

func (s *stage) read() string {
	data, _ := os.ReadFile(s.output)
	return string(data)
}

// says waits until the step's output has text.
func (s *stage) says(t *testing.T, text string) {
	t.Helper()
	for ctx := within(t); !strings.Contains(s.read(), text); {
		select {
		case <-ctx.Done():
			t.Fatalf("the step never said %q: %s", text, s.read())
		case <-time.After(2 * ms):
		}
	}
}

// sh runs a script as another step, before the one that ends.
func (s *stage) sh(t *testing.T, script string) {
	t.Helper()
	sh(t, s.host, s.pod, script)
}
