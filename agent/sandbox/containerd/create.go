package containerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/agent/sandbox/cgroup"
	"github.com/slipway-ci/slipway/agent/sandbox/network"
	"github.com/slipway-ci/slipway/agent/sandbox/procid"
	"github.com/slipway-ci/slipway/agent/supervisor/proto"
)

const (
	// shimLimit is how many operations one shim takes at once without collapsing.
	shimLimit = 8
	// readyPatience is for the supervisor to connect after its start.
	readyPatience = 30 * time.Second
	// cleanPatience is for removing a pod that could not be completed.
	cleanPatience = 2 * time.Minute

	// ownProcesses is what the supervisor's threads and the health probes may use beyond the job's limit: without a
	// thread when it needs one, the supervisor would die, and the job with it.
	ownProcesses = 48

	jobName = "job"
)

// making is a pod while it is being created.
type making struct {
	spec     sandbox.PodSpec
	name     string // of its containers and its control group
	dir      podDir
	ns       network.Namespace
	job      *image
	services []*image
	shim     chan struct{} // a semaphore
	progress func(string)

	// Of a pod with a user namespace: its range, what holds the namespace until it is pinned, and where what is mounted into the
	// pod has mapped owners.
	ids    idMap
	held   *held
	mapped map[string]string
	// filter is the seccomp filter that supervisors are to install; nil if the runtime does.
	filter []byte
	seeded *seeds
	// runtime is how containerd is told of the runtime; nil if it may choose.
	runtime containerd.NewContainerOpts
}

// hostname is like a container id's in Docker: short, and the same in every container of the pod.
func (p *making) hostname() string {
	if len(p.spec.ID) > 12 {
		return p.spec.ID[len(p.spec.ID)-12:]
	}
	return p.spec.ID
}

// Create implements sandbox.Sandbox.
func (s *Sandbox) Create(ctx context.Context, spec sandbox.PodSpec, progress func(string)) (sandbox.Pod, error) {
	if err := checkSpec(spec); err != nil {
		return nil, fmt.Errorf("creating pod: %w", err)
	}
	defer s.pool.busy()()
	defer s.lockPod(spec.ID)()
	m := s.newMaking(spec, progress)
	if _, err := os.Lstat(string(m.dir)); !errors.Is(err, fs.ErrNotExist) {
		return nil, errors.Join(fmt.Errorf("creating pod %s: there is one already", spec.ID), err)
	}
	p, err := s.build(s.context(ctx), m)
	err = errors.Join(err, m.held.close())
	if err != nil {
		// A containerd that died in mid-request, or was given up on, may still be making parts of it when the pod is tried again.
		s.mu.Lock()
		s.again[spec.ID] = true
		s.mu.Unlock()
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanPatience)
		defer cancel()
		if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
			err = fmt.Errorf("%w: %w", cause, err)
		}
		return nil, errors.Join(fmt.Errorf("creating pod %s: %w", spec.ID, err), s.remove(clean, spec.ID))
	}
	s.keep(p)
	p.annexes.begin()
	return p, nil
}

func (s *Sandbox) newMaking(spec sandbox.PodSpec, progress func(string)) *making {
	spec.Resources = bounded(spec.Resources)
	return &making{
		spec: spec, name: spec.ID, dir: s.dir(spec.ID), shim: make(chan struct{}, shimLimit), progress: oneAtATime(progress),
	}
}

func checkSpec(spec sandbox.PodSpec) error {
	if err := checkID("pod", spec.ID); err != nil {
		return err
	}
	if isAhead(spec.ID) {
		return fmt.Errorf("pod id %q: %s is for pods that have no job", spec.ID, aheadPrefix)
	}
	seen := map[string]bool{}
	for _, svc := range spec.Services {
		if err := checkHost(svc.Name, ""); err != nil {
			return err
		}
		if seen[svc.Name] {
			return fmt.Errorf("two services are named %s", svc.Name)
		}
		seen[svc.Name] = true
	}
	for name, address := range spec.Hosts {
		if err := checkHost(name, address); err != nil {
			return err
		}
	}
	return nil
}

func oneAtATime(progress func(string)) func(string) {
	if progress == nil {
		return func(string) {}
	}
	var mu sync.Mutex
	return func(line string) {
		mu.Lock()
		defer mu.Unlock()
		progress(line)
	}
}

// build makes everything; its caller cleans up after an error.
func (s *Sandbox) build(ctx context.Context, m *making) (*Pod, error) {
	p, init, err := s.obtain(ctx, m)
	if err != nil {
		return nil, err
	}
	if err := s.complete(ctx, m, p, init); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

// begin makes a pod up to the point at which its supervisor connects; its caller cleans up after an error.
func (s *Sandbox) begin(ctx context.Context, m *making) (*Pod, procid.ID, error) {
	var err error
	if m.runtime, err = s.runtimeOpt(m.spec); err != nil {
		return nil, procid.ID{}, err
	}
	if err := s.volumes(m); err != nil {
		return nil, procid.ID{}, err
	}
	if err := s.isolate(m); err != nil {
		return nil, procid.ID{}, err
	}
	if err := s.gather(ctx, m); err != nil {
		return nil, procid.ID{}, err
	}
	if err := s.userMounts(m); err != nil {
		return nil, procid.ID{}, err
	}
	p, err := s.newPod(m.spec.ID, m.name)
	if err != nil {
		return nil, procid.ID{}, err
	}
	init, err := s.startJob(ctx, m, p)
	if err != nil {
		return nil, procid.ID{}, errors.Join(err, p.close())
	}
	return p, init, nil
}

// gather gets what containers need: images, network namespace, control group, files.
func (s *Sandbox) gather(ctx context.Context, m *making) error {
	st := m.state()
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		m.job, err = s.images.get(gctx, m.spec.Image, m.auth(m.spec.Image), m.progress)
		return err
	})
	g.Go(func() error { return s.otherImages(gctx, m) })
	g.Go(func() error {
		ns, err := s.getNetwork(gctx, m)
		if err != nil {
			return err
		}
		m.ns, st.Namespace = ns, ns.Name
		if err := m.dir.save(st); err != nil {
			return errors.Join(err, s.network.Release(context.WithoutCancel(gctx), ns.Name))
		}
		return s.network.Publish(gctx, ns.Name, redirects(m.spec.Services))
	})
	g.Go(func() error {
		if err := s.writeEtc(m); err != nil {
			return err
		}
		return s.cgroups.Create(s.group(m.name), podLimits(m.spec))
	})
	return g.Wait()
}

// state is what is known of the pod before it is complete.
func (p *making) state() podState {
	st := podState{ID: p.spec.ID, Created: time.Now().UTC(), Namespace: p.ns.Name, IDs: p.ids}
	if p.name != p.spec.ID || isAhead(p.name) {
		st.Name = p.name
	}
	return st
}

// redirects are needed only where a service is published at another port than its own.
func redirects(services []sandbox.Service) []network.Redirect {
	var out []network.Redirect
	for _, svc := range services {
		for _, p := range svc.Ports {
			if p.Host != 0 && p.Host != p.Container {
				out = append(out, network.Redirect{From: p.Host, To: p.Container})
			}
		}
	}
	return out
}

// complete starts the services and waits until steps could run.
func (s *Sandbox) complete(ctx context.Context, m *making, p *Pod, init procid.ID) error {
	st := m.state()
	st.Init, st.Writable = init, writables(m.spec)
	st.Services = make([]serviceState, len(m.spec.Services))
	g, gctx := errgroup.WithContext(ctx)
	for i := range m.spec.Services {
		g.Go(func() (err error) {
			st.Services[i], err = s.startService(gctx, m, i)
			return err
		})
	}
	g.Go(func() error { return p.waitReady(gctx) })
	err := g.Wait()
	if err != nil {
		return err
	}
	if st.Shim, err = procid.Parent(init); err != nil {
		return fmt.Errorf("the job's container: %w", err)
	}
	p.state = st
	if p.annexes, err = s.planAnnexes(m, p); err != nil {
		return err
	}
	return m.dir.save(st)
}

func writables(spec sandbox.PodSpec) []writable {
	var out []writable
	for _, m := range allMounts(spec) {
		if !m.ReadOnly {
			out = append(out, writable{Source: m.Source, Target: m.Target, Host: m.Host})
		}
	}
	return out
}

// startJob starts the job's container first: it starts the shim that the others join. An annex is started in the same way.
func (s *Sandbox) startJob(ctx context.Context, m *making, p *Pod) (procid.ID, error) {
	c := container{
		name: p.box, img: m.job, args: []string{proto.Binary}, mounts: s.jobMounts(m, p.run()),
	}
	if p.image == "" {
		c.seeds = m.spec.Mounts
	}
	if m.runtime == nil && !m.ids.enabled() {
		m.filter = s.filter()
		c.confined = m.filter != nil
	}
	task, err := s.newTask(ctx, m, c, p.log())
	if err != nil {
		return procid.ID{}, err
	}
	init, err := procid.Of(int(task.Pid()))
	if err != nil {
		return procid.ID{}, fmt.Errorf("the job's container: %w", err)
	}
	if err := s.cgroups.Divide(p.jobGroup(), init.PID, cgroup.Limits{PIDs: m.spec.Resources.PIDs}); err != nil {
		return procid.ID{}, err
	}
	if m.ids.enabled() {
		if err := s.cgroups.Own(p.jobGroup(), m.ids.First); err != nil {
			return procid.ID{}, err
		}
	}
	if err := p.hold(init); err != nil {
		return procid.ID{}, err
	}
	if err := task.Start(ctx); err != nil {
		return procid.ID{}, fmt.Errorf("starting the job's container: %w", err)
	}
	return init, nil
}

// base is what the pod's steps begin with.
func (s *Sandbox) base(m *making) *proto.Base {
	return &proto.Base{
		Env:  mergeEnv(s.cfg.hostEnv(), m.job.config.Env, m.spec.Env),
		User: or(m.spec.User, m.job.config.User),
		Dir:  or(m.job.config.WorkingDir, "/"),
		// In place of the runtime's.
		Filter: m.filter,
	}
}

// newTask makes snapshot, container and task of one container; its output goes to a log in the pod's directory.
func (s *Sandbox) newTask(ctx context.Context, m *making, c container, log string) (containerd.Task, error) {
	select {
	case m.shim <- struct{}{}:
		defer func() { <-m.shim }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	id := containerID(m.name, c.name)
	if err := s.snapshot(ctx, m, id, c.img); err != nil {
		return nil, err
	}
	if err := s.seed(ctx, m, id, c.seeds); err != nil {
		return nil, err
	}
	if err := s.userRoot(ctx, m, id, c.name); err != nil {
		return nil, err
	}
	leased, done, err := uncollected(ctx, s.client)
	if err != nil {
		return nil, fmt.Errorf("container %s: %w", c.name, err)
	}
	made, err := s.client.NewContainer(leased, id, s.containerOpts(m, c, id)...)
	done()
	if err != nil {
		return nil, fmt.Errorf("container %s: %w", c.name, err)
	}
	task, err := s.createTask(ctx, m.spec.ID, made, m.dir.log(log))
	if err != nil {
		return nil, fmt.Errorf("container %s: %w", c.name, err)
	}
	return task, nil
}

// snapshot prepares a writable layer over the image. The label keeps the garbage collector away until Remove.
func (s *Sandbox) snapshot(ctx context.Context, m *making, key string, img *image) error {
	labels := snapshots.WithLabels(map[string]string{
		labelPod: m.spec.ID, "containerd.io/gc.root": time.Now().UTC().Format(time.RFC3339),
	})
	service := s.client.SnapshotService(s.cfg.Snapshotter)
	_, err := service.Prepare(ctx, key, img.chain, labels)
	if errdefs.IsNotFound(err) {
		// Someone deleted the image since it was last used.
		s.images.forget(img.ref)
		if _, err = s.images.get(ctx, img.ref, m.auth(img.ref), m.progress); err == nil {
			_, err = service.Prepare(ctx, key, img.chain, labels)
		}
	}
	if err != nil {
		return fmt.Errorf("preparing the file system of %s: %w", key, err)
	}
	return nil
}

// labels of a pod's containers.
func labels(spec sandbox.PodSpec) map[string]string {
	all := map[string]string{labelPod: spec.ID}
	for k, v := range spec.Labels {
		all["slipway.dev/"+k] = v
	}
	return all
}

func (s *Sandbox) containerOpts(m *making, c container, key string) []containerd.NewContainerOpts {
	opts := []containerd.NewContainerOpts{
		containerd.WithContainerLabels(labels(m.spec)),
		func(_ context.Context, _ *containerd.Client, r *containers.Container) error {
			r.Image = c.img.ref
			if !m.ids.enabled() { // else the root file system is mounted already
				r.Snapshotter, r.SnapshotKey = s.cfg.Snapshotter, key
			}
			return nil
		},
		containerd.WithNewSpec(s.specOpts(m, c)...),
	}
	if m.runtime != nil {
		opts = append(opts, m.runtime)
	}
	return opts
}
