package fake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/slipway-ci/slipway/agent/sandbox"
)

// Signals that a step can end by.
const (
	sigKill = 9
	sigTerm = 15
)

// Func plays a step and returns its exit code. It must return soon after ctx ends, which is KILL.
type Func func(ctx context.Context, s Step) int

// Step is what a Func is given.
type Step struct {
	sandbox.StepSpec
	// Pod is the step's pod.
	Pod sandbox.PodSpec
	// Out appends to the step's output file.
	Out io.Writer
	// Term is closed when the step gets TERM. A Func that looks at it decides itself how to end, as a process with a
	// handler does; see Default for one without.
	Term <-chan struct{}
}

// Default blocks until ctx ends or TERM comes and returns what a process without a handler would: for a Func to wait.
func (s Step) Default(ctx context.Context) int {
	select {
	case <-s.Term:
		return 128 + sigTerm
	case <-ctx.Done():
		return 128 + sigKill
	}
}

// podState is a pod of the world.
type podState struct {
	spec sandbox.PodSpec
	opts *Options

	mu      sync.Mutex
	steps   map[string]*step
	dead    chan struct{}
	changed chan struct{} // closed and replaced when a step ends

	unlease func() bool // stops the lease's timer; nil without one
	leases  int
}

type step struct {
	exit     *sandbox.Exit
	began    time.Time
	term     chan struct{}
	termed   bool
	timedOut bool
	cancel   context.CancelFunc
	timers   []func() bool
}

// Pod implements sandbox.Pod.
type Pod struct {
	sb    *Sandbox
	state *podState
}

var _ sandbox.Pod = (*Pod)(nil)

// ID implements sandbox.Pod.
func (p *Pod) ID() string { return p.state.spec.ID }

// Start implements sandbox.Pod.
func (p *Pod) Start(_ context.Context, spec sandbox.StepSpec) error {
	st := p.state
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.steps[spec.ID] != nil {
		return nil
	}
	select {
	case <-st.dead:
		return fmt.Errorf("starting step %s: %w", spec.ID, sandbox.ErrPodLost)
	case <-p.sb.closed:
		return ErrClosed
	default:
	}
	if spec.Image != "" && !slices.Contains(st.spec.StepImages, spec.Image) {
		return fmt.Errorf("starting step %s: the pod has no image %s: %w", spec.ID, spec.Image, sandbox.ErrNotFound)
	}
	out, err := os.OpenFile(spec.Output, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("output of step %s: %w", spec.ID, err)
	}
	s := &step{began: st.opts.Clock.Now(), term: make(chan struct{})}
	if message := st.refuse(spec); message != "" {
		s.exit = &sandbox.Exit{Code: 126, Message: message, NotStarted: true}
		st.steps[spec.ID] = s
		return out.Close()
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	st.steps[spec.ID] = s
	if spec.Timeout > 0 {
		s.timers = append(s.timers, st.opts.Clock.AfterFunc(spec.Timeout, func() { st.expire(s, spec.Grace) }))
	}
	go func() {
		defer out.Close()
		code := 0
		if st.opts.Run != nil {
			code = st.opts.Run(ctx, Step{StepSpec: spec, Pod: st.spec, Out: out, Term: s.term})
		}
		st.mu.Lock()
		defer st.mu.Unlock()
		st.end(s, code)
	}()
	return nil
}

// refuse explains why a step can't be executed, if so. Called with mu held.
func (p *podState) refuse(spec sandbox.StepSpec) string {
	if len(spec.Argv) == 0 {
		return "the step has no command"
	}
	for id, other := range p.steps {
		if other.exit == nil {
			return "step " + id + " is still running"
		}
	}
	return ""
}

// end notes how a step ended, the first time. Called with mu held.
func (p *podState) end(s *step, code int) {
	if s.exit != nil {
		return
	}
	select {
	case <-p.dead:
		return // a killed pod writes no records
	default:
	}
	exit := &sandbox.Exit{Code: code, TimedOut: s.timedOut, Stopped: s.termed && !s.timedOut, Duration: p.opts.Clock.Now().Sub(s.began)}
	if code > 128 && s.termed {
		exit.Signal = code - 128
	}
	s.exit = exit
	for _, stop := range s.timers {
		stop()
	}
	s.cancel()
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *podState) expire(s *step, grace time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if s.exit == nil {
		s.timedOut = true
		p.terminate(s, grace)
	}
}

// terminate is TERM, and KILL after the grace. Called with mu held.
func (p *podState) terminate(s *step, grace time.Duration) {
	if !s.termed {
		s.termed = true
		if grace > 0 {
			close(s.term)
		}
	}
	kill := func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.end(s, 128+sigKill)
	}
	if grace <= 0 {
		p.end(s, 128+sigKill)
		return
	}
	s.timers = append(s.timers, p.opts.Clock.AfterFunc(grace, kill))
}

// Lease implements sandbox.Pod, without the grace.
func (p *Pod) Lease(left, _ time.Duration) {
	st := p.state
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.unlease != nil {
		st.unlease()
	}
	st.leases++
	number := st.leases
	st.unlease = st.opts.Clock.AfterFunc(left, func() {
		st.mu.Lock()
		renewed := number != st.leases
		st.mu.Unlock()
		if !renewed {
			st.kill()
		}
	})
}

// kill ends the pod.
func (p *podState) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.dead:
		return
	default:
	}
	close(p.dead)
	if p.unlease != nil {
		p.unlease()
	}
	for _, s := range p.steps {
		for _, stop := range s.timers {
			stop()
		}
		if s.cancel != nil {
			s.cancel()
		}
	}
}

// Wait implements sandbox.Pod.
func (p *Pod) Wait(ctx context.Context, stepID string) (sandbox.Exit, error) {
	st := p.state
	for {
		st.mu.Lock()
		s, changed := st.steps[stepID], st.changed
		var exit *sandbox.Exit
		if s != nil {
			exit = s.exit
		}
		st.mu.Unlock()
		if s == nil {
			return sandbox.Exit{}, fmt.Errorf("step %s: %w", stepID, sandbox.ErrNotFound)
		}
		if exit != nil {
			return *exit, nil
		}
		select {
		case <-changed:
		case <-st.dead:
			return sandbox.Exit{}, fmt.Errorf("step %s: %w", stepID, sandbox.ErrPodLost)
		case <-p.sb.closed:
			return sandbox.Exit{}, ErrClosed
		case <-ctx.Done():
			return sandbox.Exit{}, context.Cause(ctx)
		}
	}
}

// Stop implements sandbox.Pod.
func (p *Pod) Stop(ctx context.Context, stepID string, grace time.Duration) error {
	st := p.state
	st.mu.Lock()
	s := st.steps[stepID]
	if s != nil && s.exit == nil {
		st.terminate(s, grace)
	}
	st.mu.Unlock()
	if s == nil {
		return fmt.Errorf("stopping step %s: %w", stepID, sandbox.ErrNotFound)
	}
	_, err := p.Wait(ctx, stepID)
	if errors.Is(err, sandbox.ErrPodLost) {
		return nil // nothing of the step is left
	}
	return err
}
