// Package fake is a sandbox in memory, for tests of what uses one. It behaves: steps write real output files, end by TERM,
// KILL and timeouts, survive their agent, and die with their pod. What a step does is a Go function.
package fake

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/internal/clock"
)

// Options of a world.
type Options struct {
	// Run plays the steps; nil is a command that succeeds and says nothing.
	Run Func
	// Image, if not nil, is asked for every image; its error becomes ErrImage.
	Image func(ref string) error
	// Service, if not nil, starts a service and waits for its health; its error becomes ErrUnhealthy.
	Service func(ctx context.Context, svc sandbox.Service) error
	// Create, if not nil, is asked before a pod is made; its error is what the host's runtime says.
	Create func(id string) error
	// Remove, if not nil, is asked before a pod is removed; an error is what Remove returns, and the pod stays.
	Remove func(id string) error
	// Clock runs the timeouts; nil is the machine's.
	Clock clock.Clock
}

// World is one host's pods; it outlives the sandboxes opened on it, as containers outlive an agent.
type World struct {
	opts Options

	mu   sync.Mutex
	pods map[string]*podState
}

// NewWorld makes a host without pods.
func NewWorld(opts Options) *World {
	if opts.Clock == nil {
		opts.Clock = clock.Real{}
	}
	return &World{opts: opts, pods: map[string]*podState{}}
}

// New is a sandbox on a world of its own.
func New(run Func) *Sandbox { return NewWorld(Options{Run: run}).Open() }

// Open returns a sandbox on the world: a new agent on the same host.
func (w *World) Open() *Sandbox { return &Sandbox{world: w, closed: make(chan struct{})} }

// KillPod ends a pod's job container from outside: its running step is lost.
func (w *World) KillPod(id string) {
	if p := w.pod(id); p != nil {
		p.kill()
	}
}

// Spec returns what a pod was created with, and whether it is there.
func (w *World) Spec(id string) (sandbox.PodSpec, bool) {
	p := w.pod(id)
	if p == nil {
		return sandbox.PodSpec{}, false
	}
	return p.spec, true
}

func (w *World) pod(id string) *podState {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pods[id]
}

// Sandbox implements sandbox.Sandbox.
type Sandbox struct {
	world  *World
	once   sync.Once
	closed chan struct{}
}

var _ sandbox.Sandbox = (*Sandbox)(nil)

// ErrClosed: the sandbox was used, or waited on, after Close.
var ErrClosed = errors.New("fake: sandbox is closed")

// World is where the sandbox's pods are.
func (s *Sandbox) World() *World { return s.world }

// Create implements sandbox.Sandbox.
func (s *Sandbox) Create(ctx context.Context, spec sandbox.PodSpec, progress func(string)) (sandbox.Pod, error) {
	w := s.world
	if spec.ID == "" {
		return nil, errors.New("creating pod: no id")
	}
	p := &podState{spec: spec, opts: &w.opts, steps: map[string]*step{}, dead: make(chan struct{}), changed: make(chan struct{})}
	w.mu.Lock()
	if w.pods[spec.ID] != nil {
		w.mu.Unlock()
		return nil, fmt.Errorf("creating pod %s: there is one already", spec.ID)
	}
	w.pods[spec.ID] = p
	w.mu.Unlock()
	if err := p.populate(ctx, progress); err != nil {
		w.drop(spec.ID)
		return nil, fmt.Errorf("creating pod %s: %w", spec.ID, err)
	}
	return &Pod{sb: s, state: p}, nil
}

func (p *podState) populate(ctx context.Context, progress func(string)) error {
	if p.opts.Create != nil {
		if err := p.opts.Create(p.spec.ID); err != nil {
			return err
		}
	}
	images := append([]string{p.spec.Image}, p.spec.StepImages...)
	for _, svc := range p.spec.Services {
		images = append(images, svc.Image)
	}
	for _, ref := range images {
		if p.opts.Image == nil {
			break
		}
		if err := p.opts.Image(ref); err != nil {
			return fmt.Errorf("%w: %s: %w", sandbox.ErrImage, ref, err)
		}
	}
	if progress == nil {
		progress = func(string) {}
	}
	for _, svc := range p.spec.Services {
		progress(svc.Name + " is started")
		if p.opts.Service != nil {
			if err := p.opts.Service(ctx, svc); err != nil {
				if ctx.Err() != nil {
					return context.Cause(ctx)
				}
				return fmt.Errorf("%w: service %s: %w", sandbox.ErrUnhealthy, svc.Name, err)
			}
		}
		progress(svc.Name + " is healthy")
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// Attach implements sandbox.Sandbox.
func (s *Sandbox) Attach(_ context.Context, id string) (sandbox.Pod, error) {
	p := s.world.pod(id)
	if p == nil {
		return nil, fmt.Errorf("attaching to pod %s: %w", id, sandbox.ErrNotFound)
	}
	return &Pod{sb: s, state: p}, nil
}

// List implements sandbox.Sandbox.
func (s *Sandbox) List(context.Context) ([]string, error) {
	s.world.mu.Lock()
	defer s.world.mu.Unlock()
	ids := make([]string, 0, len(s.world.pods))
	for id := range s.world.pods {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids, nil
}

// Remove implements sandbox.Sandbox.
func (s *Sandbox) Remove(_ context.Context, id string) error {
	if s.world.opts.Remove != nil {
		if err := s.world.opts.Remove(id); err != nil {
			return fmt.Errorf("removing pod %s: %w", id, err)
		}
	}
	s.world.drop(id)
	return nil
}

func (w *World) drop(id string) {
	w.mu.Lock()
	p := w.pods[id]
	delete(w.pods, id)
	w.mu.Unlock()
	if p != nil {
		p.kill()
	}
}

// Close implements sandbox.Sandbox: whoever waits through this sandbox gets ErrClosed; the pods live on.
func (s *Sandbox) Close() error {
	s.once.Do(func() { close(s.closed) })
	return nil
}
