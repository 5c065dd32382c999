package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/agent/sandbox/console"
	"github.com/slipway-ci/slipway/agent/sandbox/procid"
	"github.com/slipway-ci/slipway/agent/supervisor/proto"
	"github.com/slipway-ci/slipway/agent/supervisor/remote"
)

// Pod implements sandbox.Pod.
type Pod struct {
	sb    *Sandbox
	id    string
	dir   podDir
	group string
	sup   *remote.Supervisor
	init  *procid.Handle
	dead  <-chan struct{} // closed when the supervisor has ended

	starting sync.Mutex // one Start at a time
}

var _ sandbox.Pod = (*Pod)(nil)

// newPod listens for the pod's supervisor.
func (s *Sandbox) newPod(id, group string) (*Pod, error) {
	sup, err := remote.Listen(s.dir(id).run(), s.cfg.Log.With("pod", id))
	if err != nil {
		return nil, fmt.Errorf("pod %s: %w", id, err)
	}
	return &Pod{sb: s, id: id, dir: s.dir(id), group: group, sup: sup}, nil
}

// bind says which process is the pod's supervisor. That it has ended already is no error: its steps' records are there.
func (p *Pod) bind(init procid.ID, base *proto.Base) error {
	handle, err := procid.Open(init)
	switch {
	case errors.Is(err, procid.ErrGone):
		gone := make(chan struct{})
		close(gone)
		p.dead = gone
	case err != nil:
		return fmt.Errorf("pod %s: %w", p.id, err)
	default:
		p.init, p.dead = handle, handle.Done()
	}
	p.sup.Trust(init, base)
	return nil
}

// Lease implements sandbox.Pod.
func (p *Pod) Lease(left, grace time.Duration) { p.sup.Lease(time.Now().Add(left), grace) }

func (p *Pod) close() error {
	err := p.sup.Close()
	if p.init != nil {
		err = errors.Join(err, p.init.Close())
	}
	return err
}

// ID implements sandbox.Pod.
func (p *Pod) ID() string { return p.id }

// errDead ends a wait; lost says what it means.
var errDead = errors.New("the supervisor has ended")

// guard returns a context that ends with errDead when the supervisor dies.
func (p *Pod) guard(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-p.dead:
			cancel(errDead)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

// lost ends what a dead supervisor's steps left running, which nobody watches any more, and says that the pod is lost.
func (p *Pod) lost(ctx context.Context) error {
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanPatience)
	defer cancel()
	err := fmt.Errorf("pod %s: %w: its supervisor was killed from outside", p.id, sandbox.ErrPodLost)
	return errors.Join(err, p.sb.kill(clean, p.dir, p.group))
}

// orLost turns the error of a guarded call into what callers are told.
func (p *Pod) orLost(ctx context.Context, err error) error {
	if errors.Is(err, errDead) {
		return p.lost(ctx)
	}
	return err
}

func (p *Pod) waitReady(ctx context.Context) error {
	guarded, stop := p.guard(ctx)
	defer stop()
	timed, cancel := context.WithTimeoutCause(guarded, readyPatience, errors.New("the supervisor does not connect"))
	defer cancel()
	if err := p.sup.Ready(timed); err != nil {
		return fmt.Errorf("%w%s", p.orLost(ctx, err), quoteLog(p.dir.log()))
	}
	return nil
}

// Start implements sandbox.Pod.
func (p *Pod) Start(ctx context.Context, spec sandbox.StepSpec) error {
	if err := checkID("step", spec.ID); err != nil {
		return err
	}
	if spec.User != "" {
		return fmt.Errorf("step %s as user %s: %w: without containers, steps run as the agent's user", spec.ID, spec.User, sandbox.ErrUnsupported)
	}
	return p.begin(ctx, spec, nil)
}

// begin starts a step, or a console: then ends are what it is given.
func (p *Pod) begin(ctx context.Context, spec sandbox.StepSpec, ends *console.Ends) error {
	p.starting.Lock()
	defer p.starting.Unlock()
	if _, err := p.dir.record(spec.ID); err == nil {
		return nil
	}
	if err := p.dir.ask(spec.ID); err != nil {
		return err
	}
	if err := p.launch(ctx, spec, ends); err != nil {
		return fmt.Errorf("starting step %s: %w", spec.ID, p.orLost(ctx, err))
	}
	return nil
}

func (p *Pod) launch(ctx context.Context, spec sandbox.StepSpec, ends *console.Ends) error {
	output, kind, rest, err := ends.Given(spec.Output)
	if err != nil {
		return fmt.Errorf("its output: %w", err)
	}
	defer output.Close()
	record, err := os.OpenFile(p.dir.exitFile(spec.ID), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("its exit record: %w", err)
	}
	defer record.Close()
	group, err := p.sb.enterGroup(p.group, spec)
	if err != nil {
		return err
	}
	defer group.Close()
	guarded, stop := p.guard(ctx)
	defer stop()
	purposes, files := group.Files()
	return p.sup.Start(guarded, &proto.Step{
		ID: spec.ID, Argv: spec.Argv, Otherwise: spec.Otherwise, Env: spec.Env, Dir: spec.Dir, Timeout: spec.Timeout, Grace: spec.Grace, Group: purposes, Console: kind,
	}, output, record, append(files, rest...)...)
}

// Wait implements sandbox.Pod.
func (p *Pod) Wait(ctx context.Context, stepID string) (sandbox.Exit, error) {
	if err := checkID("step", stepID); err != nil {
		return sandbox.Exit{}, err
	}
	for {
		changed := p.sup.Changed()
		rec, err := p.dir.record(stepID)
		if err == nil {
			return p.exit(rec)
		}
		if !errors.Is(err, proto.ErrNoRecord) {
			return sandbox.Exit{}, err
		}
		if !p.dir.asked(stepID) {
			return sandbox.Exit{}, fmt.Errorf("step %s: %w", stepID, sandbox.ErrNotFound)
		}
		if err := p.known(ctx, stepID); err != nil {
			return sandbox.Exit{}, err
		}
		select {
		case <-changed:
		case <-p.dead:
			if rec, err := p.dir.record(stepID); err == nil {
				return p.exit(rec)
			}
			return sandbox.Exit{}, p.lost(ctx)
		case <-ctx.Done():
			return sandbox.Exit{}, context.Cause(ctx)
		}
	}
}

// known is ErrNotFound if the supervisor was never told of the step, because an agent died just before. A supervisor that
// dies meanwhile is left to the caller to notice.
func (p *Pod) known(ctx context.Context, id string) error {
	guarded, stop := p.guard(ctx)
	defer stop()
	if p.sup.Known(id) {
		return nil
	}
	if err := p.sup.Ready(guarded); errors.Is(err, errDead) {
		return nil
	} else if err != nil {
		return err
	}
	if p.sup.Known(id) {
		return nil
	}
	if _, err := p.dir.record(id); err == nil {
		return nil // ended while no agent was connected; the caller looks again
	}
	return fmt.Errorf("step %s was never started: %w", id, sandbox.ErrNotFound)
}

// exit turns a record into what the runner is told.
func (p *Pod) exit(r proto.Record) (sandbox.Exit, error) {
	if r.Grouped && p.sb.groups != nil {
		if err := p.sb.groups.Leave(p.group, r.ID); err != nil {
			p.sb.cfg.Log.Warn("a step's control group stays until its pod is removed", "pod", p.id, "step", r.ID, "err", err)
		}
	}
	if r.LeaseOver() {
		return sandbox.Exit{}, &sandbox.LostError{Pod: p.id, Reason: sandbox.LostLease}
	}
	return sandbox.Exit{
		Code: r.Code, Signal: r.Signal, TimedOut: r.TimedOut, OOMKilled: r.OOMKills > 0, Message: r.Message, Duration: r.Duration,
		NotStarted: r.Message != "", Cause: sandbox.Cause(r.Cause), Stopped: r.Stopped && !r.TimedOut, Killed: r.Killed,
		ForksRefused: r.ForksRefused, Left: r.Left,
	}, nil
}

// Stop implements sandbox.Pod.
func (p *Pod) Stop(ctx context.Context, stepID string, grace time.Duration) error {
	if err := checkID("step", stepID); err != nil {
		return err
	}
	if _, err := p.dir.record(stepID); err == nil {
		return nil
	}
	if !p.dir.asked(stepID) {
		return fmt.Errorf("stopping step %s: %w", stepID, sandbox.ErrNotFound)
	}
	if err := p.known(ctx, stepID); err != nil {
		return err
	}
	guarded, stop := p.guard(ctx)
	defer stop()
	if _, err := p.dir.record(stepID); err == nil {
		return nil
	}
	err := p.sup.Stop(guarded, stepID, grace)
	if errors.Is(err, errDead) {
		// The step has nobody to stop it but this agent.
		clean, cancel := context.WithTimeout(ctx, cleanPatience)
		defer cancel()
		err = p.sb.kill(clean, p.dir, p.group)
	}
	if err != nil {
		return fmt.Errorf("stopping step %s: %w", stepID, err)
	}
	return nil
}
