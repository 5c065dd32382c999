package containerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/agent/sandbox/console"
	"github.com/slipway-ci/slipway/agent/sandbox/procid"
	"github.com/slipway-ci/slipway/agent/supervisor/proto"
	"github.com/slipway-ci/slipway/agent/supervisor/remote"
)

// Pod implements sandbox.Pod.
type Pod struct {
	sb   *Sandbox
	id   string
	name string // of its containers and its control group
	dir  podDir
	box  string // the container in which its steps run: the job's, or an annex's
	// image of an annex; "" for the job's own.
	image string
	sup   *remote.Supervisor
	init  *procid.Handle
	dead  <-chan struct{} // closed when the job's container has ended

	state podState // as it was when the pod was complete

	annexes *annexes // nil if there are none

	lease lease

	// written is what the pod had written when the guard of the disk ended its step; 0 since that was told.
	written atomic.Int64

	starting sync.Mutex // one Start at a time
	marking  sync.Mutex // one writer of a step's request file at a time
}

var _ sandbox.Pod = (*Pod)(nil)

// newPod listens for the pod's supervisor.
func (s *Sandbox) newPod(id, name string) (*Pod, error) {
	p := &Pod{sb: s, id: id, name: name, dir: s.dir(id), box: jobName}
	return p, s.listen(p)
}

func (s *Sandbox) listen(p *Pod) (err error) {
	if p.sup, err = remote.Listen(p.run(), s.cfg.Log.With("pod", p.id)); err != nil {
		return fmt.Errorf("pod %s: %w", p.id, err)
	}
	return nil
}

// run is the directory of the supervisor's socket.
func (p *Pod) run() string {
	if p.image == "" {
		return p.dir.run()
	}
	return p.dir.run() + "-" + p.box
}

// log is the name of the supervisor's log.
func (p *Pod) log() string {
	if p.image == "" {
		return "supervisor"
	}
	return "supervisor-" + p.box
}

// hold says which process is the pod's init. That it has ended already is no error: its steps' records are still there.
func (p *Pod) hold(init procid.ID) error {
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
	return nil
}

func (p *Pod) close() error {
	p.annexes.end()
	err := p.sup.Close()
	for _, annex := range p.boxes()[1:] {
		err = errors.Join(err, annex.close())
	}
	if p.init != nil {
		err = errors.Join(err, p.init.Close())
	}
	return err
}

// ID implements sandbox.Pod.
func (p *Pod) ID() string { return p.id }

// guard returns a context that ends with ErrPodLost when the pod dies.
func (p *Pod) guard(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-p.dead:
			cancel(p.lost())
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

func (p *Pod) waitReady(ctx context.Context) error {
	ctx, stop := p.guard(ctx)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, readyPatience, errors.New("the supervisor does not connect"))
	defer cancel()
	if err := p.sup.Ready(ctx); err != nil {
		return fmt.Errorf("%w%s", err, quoteLog(p.dir.log(p.log())))
	}
	return nil
}

// Start implements sandbox.Pod.
func (p *Pod) Start(ctx context.Context, spec sandbox.StepSpec) error {
	if err := checkID("step", spec.ID); err != nil {
		return err
	}
	if spec.Image != "" {
		return p.startAnnexed(ctx, spec)
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
	// The group first: nobody counts the whole pod's out-of-memory kills if a step has its own, and to count them reads every
	// group beneath the job's.
	group, err := p.enter(spec)
	if err != nil {
		return fmt.Errorf("starting step %s: %w", spec.ID, err)
	}
	defer group.Close()
	if err := p.mark(spec, group != nil); err != nil {
		return err
	}
	output, kind, rest, err := ends.Given(spec.Output)
	if err != nil {
		return fmt.Errorf("output of step %s: %w", spec.ID, err)
	}
	defer output.Close()
	record, err := os.OpenFile(p.dir.exitFile(spec.ID), os.O_WRONLY|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("exit record of step %s: %w", spec.ID, err)
	}
	defer record.Close()
	ctx, stop := p.guard(ctx)
	defer stop()
	purposes, files := group.Files()
	err = p.sup.Start(ctx, &proto.Step{
		ID: spec.ID, Argv: spec.Argv, Otherwise: spec.Otherwise, Env: spec.Env, Dir: spec.Dir, User: spec.User, Timeout: spec.Timeout, Grace: spec.Grace,
		Group: purposes, Console: kind,
	}, output, record, append(files, rest...)...)
	if err != nil {
		return fmt.Errorf("starting step %s: %w", spec.ID, err)
	}
	return nil
}

// startAnnexed starts a step with an image of its own.
func (p *Pod) startAnnexed(ctx context.Context, spec sandbox.StepSpec) error {
	if _, err := p.dir.record(spec.ID); err == nil {
		return nil
	}
	select {
	case <-p.dead: // even if the annex lives: the pod is lost as a whole
		return fmt.Errorf("starting step %s: %w", spec.ID, p.lost())
	default:
	}
	box, err := p.annexes.of(ctx, spec.Image)
	if err != nil {
		return fmt.Errorf("starting step %s: %w", spec.ID, err)
	}
	spec.Image = ""
	return box.Start(ctx, spec)
}

// mark notes that a step was asked for, the first time.
func (p *Pod) mark(spec sandbox.StepSpec, grouped bool) error {
	if _, err := os.Stat(p.dir.request(spec.ID)); err == nil {
		return nil
	}
	var kills int64
	if !grouped || !p.sup.Groups() {
		var err error
		if kills, err = p.jobKills(); err != nil {
			return err
		}
	}
	req := request{OOMKills: kills, Output: spec.Output}
	if p.image != "" {
		req.Box = p.box
	}
	return writeJSON(p.dir.request(spec.ID), req)
}

// Wait implements sandbox.Pod.
func (p *Pod) Wait(ctx context.Context, stepID string) (sandbox.Exit, error) {
	if err := checkID("step", stepID); err != nil {
		return sandbox.Exit{}, err
	}
	if box := p.boxOf(stepID); box != p {
		return box.Wait(ctx, stepID)
	}
	for {
		changed := p.sup.Changed()
		rec, err := p.dir.record(stepID)
		if err == nil {
			return p.exit(ctx, rec)
		}
		if !errors.Is(err, proto.ErrNoRecord) {
			return sandbox.Exit{}, err
		}
		if _, err := os.Stat(p.dir.request(stepID)); errors.Is(err, fs.ErrNotExist) {
			return sandbox.Exit{}, fmt.Errorf("step %s: %w", stepID, sandbox.ErrNotFound)
		}
		if err := p.known(ctx, stepID); err != nil {
			return sandbox.Exit{}, err
		}
		select {
		case <-changed:
		case <-p.dead:
			if rec, err := p.dir.record(stepID); err == nil {
				return p.exit(ctx, rec)
			}
			return sandbox.Exit{}, p.lost()
		case <-ctx.Done():
			return sandbox.Exit{}, context.Cause(ctx)
		}
	}
}

// known is ErrNotFound if the supervisor was never told of the step, because an agent died just before. A pod that dies
// meanwhile is left to the caller to notice.
func (p *Pod) known(ctx context.Context, id string) error {
	guarded, stop := p.guard(ctx)
	defer stop()
	if p.sup.Known(id) {
		return nil
	}
	if err := p.sup.Ready(guarded); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return ignoreLost(err)
	}
	if p.sup.Known(id) {
		return nil
	}
	if _, err := p.dir.record(id); err == nil {
		return nil // ended while no agent was connected; the caller looks again
	}
	return fmt.Errorf("step %s was never started: %w", id, sandbox.ErrNotFound)
}

func ignoreLost(err error) error {
	if errors.Is(err, sandbox.ErrPodLost) {
		return nil
	}
	return err
}

// Stop implements sandbox.Pod.
func (p *Pod) Stop(ctx context.Context, stepID string, grace time.Duration) error {
	if err := checkID("step", stepID); err != nil {
		return err
	}
	if box := p.boxOf(stepID); box != p {
		return box.Stop(ctx, stepID, grace)
	}
	if _, err := p.dir.record(stepID); err == nil {
		return nil
	}
	if _, err := os.Stat(p.dir.request(stepID)); errors.Is(err, fs.ErrNotExist) {
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
	if errors.Is(err, sandbox.ErrPodLost) {
		return nil // nothing of the step is left
	}
	if err != nil {
		return fmt.Errorf("stopping step %s: %w", stepID, err)
	}
	return nil
}
