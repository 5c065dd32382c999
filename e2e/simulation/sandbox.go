package simulation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/slipway-ci/slipway/agent/sandbox"
)

// host is one machine: its pods outlive the agents on it.
type host struct {
	w    *world
	name string
	pods map[string]*simPod
	// sick scales how often the sandbox fails.
	sick float64
}

type simPod struct {
	spec  sandbox.PodSpec
	host  *host
	steps map[string]*simStep
	dead  bool
	// half made: a killed agent left it.
	half bool
	// leases counts them: only the last one can run out.
	leases int
}

type simStep struct {
	id      string
	exit    *sandbox.Exit
	began   time.Duration
	stopped bool
	waiting []func(sandbox.Exit, error)
}

// simSandbox is the sandbox of one life of an agent.
type simSandbox struct {
	h *host
	n *node
	// life of the agent.
	life int
}

var _ sandbox.Sandbox = (*simSandbox)(nil)

var errSick = errors.New("simulated failure of the sandbox")

func (s *simSandbox) key(op, id string) string { return "sandbox/" + s.n.name + "/" + op + "/" + id }

// later does something on the host after a while, if the agent still lives then.
func (s *simSandbox) later(a, b time.Duration, do func()) {
	if s.n.life != s.life {
		return
	}
	s.n.after(s.n.l.between(a, b), do)
}

// Create implements sandbox.Sandbox.
func (s *simSandbox) Create(ctx context.Context, spec sandbox.PodSpec, progress func(string)) (sandbox.Pod, error) {
	pod, err := call(ctx, s.n.l, s.key("create", spec.ID), func(answer func(*simPod, error)) {
		l, p := s.n.l, &simPod{spec: spec, host: s.h, steps: map[string]*simStep{}, half: true}
		if s.h.pods[spec.ID] != nil {
			answer(nil, fmt.Errorf("creating pod %s: there is one already", spec.ID))
			return
		}
		s.h.pods[spec.ID] = p
		s.h.w.hist.add(s.n.name, []string{spec.ID}, "host: making pod %s", spec.ID)
		s.later(50*time.Millisecond, 3*time.Second, func() {
			switch {
			case s.h.pods[spec.ID] != p:
				answer(nil, errSick)
			case ctx.Err() != nil:
				delete(s.h.pods, spec.ID)
			case l.chance(0.02 * s.h.sick):
				delete(s.h.pods, spec.ID)
				answer(nil, fmt.Errorf("%w: simulated", sandbox.ErrImage))
			default:
				p.half = false
				answer(p, nil)
			}
		})
	})
	if err != nil {
		return nil, err
	}
	progress("simulated pod")
	return &podHandle{s, pod}, nil
}

// Attach implements sandbox.Sandbox.
func (s *simSandbox) Attach(ctx context.Context, id string) (sandbox.Pod, error) {
	pod, err := call(ctx, s.n.l, s.key("attach", id), func(answer func(*simPod, error)) {
		s.later(time.Millisecond, 20*time.Millisecond, func() {
			if p := s.h.pods[id]; p != nil && !p.half {
				answer(p, nil)
				return
			}
			answer(nil, fmt.Errorf("pod %s: %w", id, sandbox.ErrNotFound))
		})
	})
	if err != nil {
		return nil, err
	}
	return &podHandle{s, pod}, nil
}

// List implements sandbox.Sandbox.
func (s *simSandbox) List(ctx context.Context) ([]string, error) {
	return call(ctx, s.n.l, s.key("list", ""), func(answer func([]string, error)) {
		s.later(time.Millisecond, 20*time.Millisecond, func() {
			if s.n.l.chance(0.05 * s.h.sick) {
				answer(nil, errSick)
				return
			}
			answer(slices.Sorted(maps.Keys(s.h.pods)), nil)
		})
	})
}

// Remove implements sandbox.Sandbox.
func (s *simSandbox) Remove(ctx context.Context, id string) error {
	_, err := call(ctx, s.n.l, s.key("remove", id), func(answer func(struct{}, error)) {
		s.later(10*time.Millisecond, 500*time.Millisecond, func() {
			if s.n.l.chance(0.05 * s.h.sick) {
				answer(struct{}{}, errSick)
				return
			}
			s.h.remove(id)
			answer(struct{}{}, nil)
		})
	})
	return err
}

// Close implements sandbox.Sandbox.
func (s *simSandbox) Close() error { return nil }

func (h *host) remove(id string) {
	p := h.pods[id]
	if p == nil {
		return
	}
	h.w.hist.add(h.name, []string{id}, "host: pod %s is removed", id)
	p.die()
	delete(h.pods, id)
}

// die ends a pod's processes; who waits for a step learns that the pod is lost.
func (p *simPod) die() {
	if p.dead {
		return
	}
	p.dead = true
	for _, id := range slices.Sorted(maps.Keys(p.steps)) {
		st := p.steps[id]
		if st.exit == nil {
			st.tell(sandbox.Exit{}, fmt.Errorf("step %s: %w", id, sandbox.ErrPodLost))
		}
	}
}

func (st *simStep) tell(x sandbox.Exit, err error) {
	waiting := st.waiting
	st.waiting = nil
	for _, answer := range waiting {
		answer(x, err)
	}
}

// podHandle implements sandbox.Pod for one life of an agent.
type podHandle struct {
	s *simSandbox
	p *simPod
}

// ID implements sandbox.Pod.
func (p *podHandle) ID() string { return p.p.spec.ID }

func (p *podHandle) key(op, step string) string { return p.s.key(op, p.p.spec.ID+"/"+step) }

// Start implements sandbox.Pod.
func (p *podHandle) Start(ctx context.Context, spec sandbox.StepSpec) error {
	_, err := call(ctx, p.s.n.l, p.key("start", spec.ID), func(answer func(struct{}, error)) {
		p.s.later(time.Millisecond, 10*time.Millisecond, func() { answer(struct{}{}, p.p.start(spec)) })
	})
	return err
}

func (p *simPod) start(spec sandbox.StepSpec) error {
	w, l := p.host.w, p.host.w.l
	switch {
	case p.dead:
		return fmt.Errorf("starting step %s: %w", spec.ID, sandbox.ErrPodLost)
	case p.steps[spec.ID] != nil:
		return nil
	}
	for _, other := range p.steps {
		if other.exit == nil {
			w.check.violate("one step at a time", []string{p.spec.ID}, "step %s of attempt %s starts while step %s runs", spec.ID, p.spec.ID, other.id)
		}
	}
	w.check.stepStarts(p.spec.ID, w.running())
	st := &simStep{id: spec.ID, began: l.now}
	p.steps[spec.ID] = st
	w.hist.add(p.host.name, []string{p.spec.ID}, "host: step %s of attempt %s starts", spec.ID, p.spec.ID)
	if err := appendTo(spec.Output, "hello from "+spec.ID+"\n"); err != nil {
		return err
	}
	code := 0
	if l.chance(w.o.failing) {
		code = 1
	}
	long := l.between(50*time.Millisecond, 8*time.Second)
	if l.chance(0.1) {
		long = l.between(8*time.Second, 40*time.Second)
	}
	l.after(long, func() { p.exit(st, sandbox.Exit{Code: code}) })
	if spec.Timeout > 0 {
		l.after(spec.Timeout, func() { p.exit(st, sandbox.Exit{Code: 143, Signal: 15, TimedOut: true}) })
	}
	return nil
}

// running are the attempts with a step that runs now, on any host, known to its agent or not.
func (w *world) running() []string {
	var out []string
	for _, h := range w.hosts {
		for _, id := range slices.Sorted(maps.Keys(h.pods)) {
			p := h.pods[id]
			for _, st := range p.steps {
				if st.exit == nil && !p.dead {
					out = append(out, id)
					break
				}
			}
		}
	}
	return out
}

func appendTo(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

func (p *simPod) exit(st *simStep, x sandbox.Exit) {
	if p.dead || st.exit != nil {
		return
	}
	x.Duration = p.host.w.l.now - st.began
	x.Stopped = st.stopped && !x.TimedOut
	st.exit = &x
	p.host.w.hist.add(p.host.name, []string{p.spec.ID}, "host: step %s of attempt %s ends with %d", st.id, p.spec.ID, x.Code)
	st.tell(x, nil)
}

// Wait implements sandbox.Pod.
func (p *podHandle) Wait(ctx context.Context, id string) (sandbox.Exit, error) {
	return call(ctx, p.s.n.l, p.key("wait", id), func(answer func(sandbox.Exit, error)) {
		st := p.p.steps[id]
		// What the host says reaches the agent only while it lives and is not paused.
		tell := func(x sandbox.Exit, err error) { p.s.later(0, time.Millisecond, func() { answer(x, err) }) }
		switch {
		case st == nil:
			tell(sandbox.Exit{}, fmt.Errorf("step %s: %w", id, sandbox.ErrNotFound))
		case st.exit != nil:
			tell(*st.exit, nil)
		case p.p.dead:
			tell(sandbox.Exit{}, fmt.Errorf("step %s: %w", id, sandbox.ErrPodLost))
		default:
			st.waiting = append(st.waiting, tell)
		}
	})
}

// Lease implements sandbox.Pod: the host keeps it, so that it runs out whatever becomes of the agent.
func (p *podHandle) Lease(left, _ time.Duration) {
	p.s.n.l.park(p.key("lease", ""), func() { p.p.lease(left) })
}

func (p *simPod) lease(left time.Duration) {
	p.leases++
	number := p.leases
	p.host.w.l.after(left, func() {
		if !p.dead && number == p.leases {
			p.host.w.hist.add(p.host.name, []string{p.spec.ID}, "host: the lease of attempt %s is over", p.spec.ID)
			p.die()
		}
	})
}

// Stop implements sandbox.Pod.
func (p *podHandle) Stop(ctx context.Context, id string, grace time.Duration) error {
	_, err := call(ctx, p.s.n.l, p.key("stop", id), func(answer func(struct{}, error)) {
		l, st := p.s.n.l, p.p.steps[id]
		p.s.later(time.Millisecond, 5*time.Millisecond, func() {
			switch {
			case st == nil:
				answer(struct{}{}, fmt.Errorf("stopping step %s: %w", id, sandbox.ErrNotFound))
				return
			case l.chance(0.05 * p.s.h.sick):
				answer(struct{}{}, errSick)
				return
			case st.exit == nil && !p.p.dead:
				st.stopped = true
				x, after := sandbox.Exit{Code: 143, Signal: 15}, l.between(time.Millisecond, 2*grace)
				if after >= grace {
					x, after = sandbox.Exit{Code: 137, Signal: 9, Killed: true}, grace
				}
				l.after(after, func() { p.p.exit(st, x) })
				st.waiting = append(st.waiting, func(sandbox.Exit, error) { p.s.later(0, time.Millisecond, func() { answer(struct{}{}, nil) }) })
				return
			}
			answer(struct{}{}, nil)
		})
	})
	return err
}
