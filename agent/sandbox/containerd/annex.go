package containerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/containerd/errdefs"

	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/agent/sandbox/network"
	"github.com/slipway-ci/slipway/agent/sandbox/procid"
)

// A step with an image of its own runs in an annex: a container of the pod beside the job's, with a supervisor of its own, and
// everything of the job's but the root file system. It is a Pod to itself that shares the job's directory, so that a step in it is
// started, watched and ended as any other.
//
// Annexes are made while the job's first steps run, each once; a step that comes sooner waits. What an agent had begun to make
// when it was killed, the next one removes and makes again when a step wants it.

// annexes are a pod's.
type annexes struct {
	pod  *Pod
	plan annexPlan
	shim chan struct{}
	ctx  context.Context // ends what is being made
	stop context.CancelFunc
	all  []*annex
}

type annex struct {
	lock  chan struct{} // a semaphore of one: one makes it, the others wait
	tried bool          // under lock: there may be parts of it
	ready atomic.Pointer[Pod]
}

// annexPlan is annexes.json: what has to be known to make them, also by another process. It has no environment, which may be secret.
type annexPlan struct {
	Spec sandbox.PodSpec `json:"spec"`
	// Network is the path of the pod's network namespace.
	Network string `json:"network"`
}

// annexState is the file of an annex in which steps can run.
type annexState struct {
	Init procid.ID `json:"init"`
}

func annexName(i int) string { return "img" + strconv.Itoa(i) }

// planAnnexes keeps what the pod's annexes need; nil if it has none.
func (s *Sandbox) planAnnexes(m *making, p *Pod) (*annexes, error) {
	if len(m.spec.StepImages) == 0 {
		return nil, nil //nolint:nilnil // a pod without annexes
	}
	plan := annexPlan{Network: m.ns.Path, Spec: sandbox.PodSpec{
		ID: m.spec.ID, Mounts: m.spec.Mounts, Labels: m.spec.Labels, StepImages: m.spec.StepImages, Resources: m.spec.Resources,
		Isolation: m.spec.Isolation, Runtime: m.spec.Runtime,
	}}
	return newAnnexes(p, plan), writeJSON(m.dir.annexes(), plan)
}

func newAnnexes(p *Pod, plan annexPlan) *annexes {
	ctx, stop := context.WithCancel(context.Background())
	a := &annexes{pod: p, plan: plan, shim: make(chan struct{}, shimLimit), ctx: ctx, stop: stop}
	for range plan.Spec.StepImages {
		a.all = append(a.all, &annex{lock: make(chan struct{}, 1)})
	}
	return a
}

// attachAnnexes takes over those that an earlier process had made.
func (s *Sandbox) attachAnnexes(p *Pod) error {
	var plan annexPlan
	if err := readJSON(p.dir.annexes(), &plan); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	p.annexes = newAnnexes(p, plan)
	for i, a := range p.annexes.all {
		a.tried = true
		var st annexState
		err := readJSON(p.dir.annex(i), &st)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		box, err := s.newAnnex(p, i)
		if err != nil {
			return err
		}
		box.state.Init = st.Init
		if err := box.hold(st.Init); err != nil {
			return errors.Join(err, box.close())
		}
		box.sup.Trust(st.Init, nil)
		a.ready.Store(box)
	}
	return nil
}

// begin makes them in the background. An error is not told: the step that wants it tries again.
func (a *annexes) begin() {
	if a == nil {
		return
	}
	for i := range a.all {
		a.pod.sb.later(func() {
			if _, err := a.get(a.ctx, i); err != nil && a.ctx.Err() == nil {
				a.pod.sb.cfg.Log.Warn("the container of a step's image could not be made ahead; its step tries again", "pod", a.pod.id, "image", a.plan.Spec.StepImages[i], "err", err)
			}
		})
	}
}

// of is where a step with an image runs.
func (a *annexes) of(ctx context.Context, image string) (*Pod, error) {
	i := -1
	if a != nil {
		i = slices.Index(a.plan.Spec.StepImages, image)
	}
	if i < 0 {
		return nil, fmt.Errorf("the pod was made without the image %s: %w", image, sandbox.ErrNotFound)
	}
	return a.get(ctx, i)
}

// get returns an annex, making it if need be.
func (a *annexes) get(ctx context.Context, i int) (*Pod, error) {
	x := a.all[i]
	if box := x.ready.Load(); box != nil {
		return box, nil
	}
	select {
	case x.lock <- struct{}{}:
		defer func() { <-x.lock }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if box := x.ready.Load(); box != nil {
		return box, nil
	}
	ctx, done := a.pod.guard(ctx)
	defer done()
	ctx, cancel := context.WithTimeout(a.pod.sb.context(ctx), aheadPatience)
	defer cancel()
	defer context.AfterFunc(a.ctx, cancel)()
	again := x.tried
	x.tried = true
	box, err := a.pod.sb.makeAnnex(ctx, a, i, again)
	if err != nil {
		if cause := context.Cause(ctx); errors.Is(cause, sandbox.ErrPodLost) {
			err = cause
		}
		return nil, fmt.Errorf("the container of image %s: %w", a.plan.Spec.StepImages[i], err)
	}
	a.pod.admit(x, box)
	return box, nil
}

// end stops what is being made, for ever, and says whether containerd may have parts of one that nobody holds.
func (a *annexes) end() (halfMade bool) {
	if a == nil {
		return false
	}
	a.stop()
	for _, x := range a.all {
		x.lock <- struct{}{}
		halfMade = halfMade || x.tried && x.ready.Load() == nil
		<-x.lock
	}
	return halfMade
}

// boxes are the pod's containers in which steps run, the job's first.
func (p *Pod) boxes() []*Pod {
	out := []*Pod{p}
	if p.annexes != nil {
		for _, x := range p.annexes.all {
			if box := x.ready.Load(); box != nil {
				out = append(out, box)
			}
		}
	}
	return out
}

// boxOf is the container in which a step was started; the job's if it was in none.
func (p *Pod) boxOf(step string) *Pod {
	if p.annexes == nil {
		return p
	}
	var req request
	if err := readJSON(p.dir.request(step), &req); err == nil {
		for _, box := range p.boxes() {
			if box.box == req.Box {
				return box
			}
		}
	}
	return p
}

// newAnnex listens for its supervisor.
func (s *Sandbox) newAnnex(p *Pod, i int) (*Pod, error) {
	box := &Pod{sb: s, id: p.id, name: p.name, dir: p.dir, box: annexName(i), image: p.annexes.plan.Spec.StepImages[i], state: p.state}
	if err := os.MkdirAll(box.run(), 0o755); err != nil {
		return nil, fmt.Errorf("pod %s: %w", p.id, err)
	}
	return box, s.listen(box)
}

// makeAnnex makes one, up to the point at which steps could run.
func (s *Sandbox) makeAnnex(ctx context.Context, a *annexes, i int, again bool) (_ *Pod, err error) {
	p := a.pod
	m := &making{
		spec: a.plan.Spec, name: p.name, dir: p.dir, ns: network.Namespace{Name: p.state.Namespace, Path: a.plan.Network}, shim: a.shim,
		progress: func(string) {}, ids: p.state.IDs,
	}
	if again {
		if err := s.unmakeAnnex(ctx, m, annexName(i)); err != nil {
			return nil, fmt.Errorf("removing what an earlier try left: %w", err)
		}
	}
	if m.runtime, err = s.runtimeOpt(m.spec); err != nil {
		return nil, err
	}
	if m.job, err = s.images.get(ctx, m.spec.StepImages[i], nil, m.progress); err != nil {
		return nil, err
	}
	box, err := s.newAnnex(p, i)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, box.close())
		}
	}()
	var init procid.ID
	if err = s.userAnnex(m, box); err == nil {
		init, err = s.startJob(ctx, m, box)
	}
	if err = errors.Join(err, m.held.close()); err != nil {
		return nil, err
	}
	box.state.Init = init
	box.sup.Trust(init, s.base(m))
	if err = box.waitReady(ctx); err != nil {
		return nil, err
	}
	err = writeJSON(p.dir.annex(i), annexState{Init: init})
	return box, err
}

// unmakeAnnex removes what an interrupted making left, or is about to.
func (s *Sandbox) unmakeAnnex(ctx context.Context, m *making, name string) error {
	s.mu.Lock()
	s.again[m.spec.ID] = true
	s.mu.Unlock()
	if err := s.adoptOrphans(ctx, m.spec.ID, m.name); err != nil {
		return err
	}
	key := containerID(m.name, name)
	c, err := s.client.LoadContainer(ctx, key)
	if err == nil {
		err = s.removeContainer(ctx, c)
	}
	if err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	if err := s.unmountAnnex(m.spec.ID, name); err != nil {
		return err
	}
	if err := s.client.SnapshotService(s.cfg.Snapshotter).Remove(ctx, key); err != nil && !errdefs.IsNotFound(err) {
		return err
	}
	return s.cgroups.Remove(ctx, s.group(m.name)+"/"+name)
}
