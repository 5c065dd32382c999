package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/core/snapshots"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/agent/sandbox/cgroup"
	"github.com/slipway-ci/slipway/agent/sandbox/procid"
)

// A pod can be made ahead of the job that it is for: network namespace, control group, snapshot and container, whose
// supervisor has dialled the agent and waits for its welcome. Nothing of any job is in it. To become a job's, it
//
//   - gets the job's id: its directory is renamed, which is what decides whose it is, and its labels change. Its containers
//     and its control group keep the name that they were made with, because containerd and cgroup v2 can't rename;
//   - gets the job's host name, mounts, /etc/hosts and limits, from outside (furnish);
//   - gets the job's environment, user and directory, as any supervisor does, with its welcome.
//
// From then on nothing tells it from a pod that was made for the job. It serves one job, like any other.

// aheadPrefix begins the names of pods that were made ahead; no job's pod may be called so.
const aheadPrefix = "warm-"

// aheadPatience is for making one, once the image is there.
const aheadPatience = time.Minute

func isAhead(name string) bool { return strings.HasPrefix(name, aheadPrefix) }

// containerID names a pod's container in containerd. Those that were made ahead have no dot, by which agents before this one
// find the pods of tasks, and would remove as unknown the one of a job.
func containerID(pod, container string) string {
	if isAhead(pod) {
		return pod + "-" + container
	}
	return pod + "." + container
}

// shape is what of a pod can't be changed once its container is made. Everything else of a sandbox.PodSpec can.
type shape struct {
	Image  string `json:"image"`
	Egress bool   `json:"egress,omitempty"`
	// Mounts are the targets, each after "ro" or "rw", joined by NUL.
	Mounts string `json:"mounts,omitempty"`
}

// shapeOf is not ok for a pod that can only be made when it is wanted.
func shapeOf(spec sandbox.PodSpec) (sh shape, ok bool) {
	if spec.Isolation != "" && spec.Isolation != sandbox.IsolationDefault || spec.Runtime != "" {
		return shape{}, false // what is mounted has mapped owners, or is out of this kernel's reach
	}
	if spec.Auth != nil {
		return shape{}, false // who made it ahead did not know the registry's user
	}
	mounts := make([]string, len(spec.Mounts))
	for i, m := range spec.Mounts {
		// runc makes a file where a file is to be mounted; only directories have a stand-in.
		if info, err := os.Stat(m.Source); err != nil || !info.IsDir() || strings.ContainsRune(m.Target, 0) {
			return shape{}, false
		}
		mounts[i] = "rw" + m.Target
		if m.ReadOnly {
			mounts[i] = "ro" + m.Target
		}
	}
	return shape{Image: spec.Image, Egress: spec.Egress, Mounts: strings.Join(mounts, "\x00")}, true
}

// mounts stand in for a job's: an empty directory everywhere.
func (sh shape) mounts(standIn string) []sandbox.Mount {
	var out []sandbox.Mount
	for target := range strings.SplitSeq(sh.Mounts, "\x00") {
		if len(target) > 2 {
			out = append(out, sandbox.Mount{Source: standIn, Target: target[2:], ReadOnly: target[:2] == "ro"})
		}
	}
	return out
}

// ahead is a pod that has no job yet.
type ahead struct {
	name  string
	shape shape
	// host tells whether what is mounted of the host is still what would be mounted now.
	host  string
	m     *making
	p     *Pod
	init  procid.ID
	taken chan struct{} // closed when it leaves the pool
}

// alive is whether its init waits and the host has not changed under it.
func (a *ahead) alive(host string) bool {
	select {
	case <-a.p.dead:
		return false
	default:
		return a.host == host
	}
}

// hostFiles identifies the files of the host that are mounted into every container; a replaced one is another file.
func (s *Sandbox) hostFiles() string {
	var b strings.Builder
	for _, path := range []string{s.supervisor(), s.cfg.CABundle} {
		var st syscall.Stat_t
		if path != "" && syscall.Stat(path, &st) == nil {
			fmt.Fprintf(&b, "%d:%d ", st.Dev, st.Ino)
		}
	}
	return b.String()
}

// makeAhead makes a pod of a shape, up to the point at which it must know its job. On error nothing of it is left.
func (s *Sandbox) makeAhead(ctx context.Context, name string, sh shape) (*ahead, error) {
	ctx = s.context(ctx)
	if _, err := s.images.get(ctx, sh.Image, nil, func(string) {}); err != nil {
		return nil, err
	}
	// From here on only a time-out interrupts: containerd may finish what nobody waits for any more, after all was removed.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), aheadPatience)
	defer cancel()
	dir := s.dir(name)
	standIn := filepath.Join(string(dir), "mounted")
	m := s.newMaking(sandbox.PodSpec{ID: name, Image: sh.Image, Egress: sh.Egress, Mounts: sh.mounts(standIn)}, nil)
	a := &ahead{name: name, shape: sh, host: s.hostFiles(), m: m, taken: make(chan struct{})}
	err := m.dir.make(s.cfg.StepsDir)
	if err == nil {
		err = os.Mkdir(standIn, 0o700)
	}
	if err == nil {
		a.p, a.init, err = s.begin(ctx, m)
	}
	if err == nil {
		err = s.awaitKnock(ctx, a.p)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("making a pod ahead: %w", err), s.discard(ctx, a))
	}
	return a, nil
}

func (s *Sandbox) awaitKnock(ctx context.Context, p *Pod) error {
	ctx, stop := p.guard(ctx)
	defer stop()
	ctx, cancel := context.WithTimeoutCause(ctx, readyPatience, errors.New("the supervisor does not connect"))
	defer cancel()
	if err := p.sup.Knocked(ctx); err != nil {
		return fmt.Errorf("%w%s", err, quoteLog(p.dir.log("supervisor")))
	}
	return nil
}

// discard removes a pod that no job took.
func (s *Sandbox) discard(ctx context.Context, a *ahead) error {
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanPatience)
	defer cancel()
	err := s.remove(clean, a.name)
	if a.p != nil {
		err = errors.Join(err, a.p.close())
	}
	return err
}

// claim makes a pod that was made ahead the job's. After an error it is still to be removed, by one name or the other.
func (s *Sandbox) claim(ctx context.Context, m *making, a *ahead) (*Pod, error) {
	if err := os.Rename(string(a.m.dir), string(m.dir)); err != nil {
		return nil, fmt.Errorf("naming it: %w", err)
	}
	p := a.p
	p.id, p.dir = m.spec.ID, m.dir
	m.name, m.ns, m.filter = a.name, a.m.ns, a.m.filter
	if err := s.volumes(m); err != nil {
		return nil, errors.Join(err, p.close())
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		if m.job, err = s.images.get(gctx, m.spec.Image, m.auth(m.spec.Image), m.progress); err == nil {
			p.sup.Trust(a.init, s.base(m))
		}
		return err
	})
	g.Go(func() error { return furnish(a.init, m.hostname(), m.spec.Mounts) })
	g.Go(func() error { return s.relabel(gctx, m) })
	g.Go(func() error { return s.otherImages(gctx, m) })
	g.Go(func() error { return s.network.Publish(gctx, m.ns.Name, redirects(m.spec.Services)) })
	g.Go(func() error {
		if err := s.writeEtc(m); err != nil {
			return err
		}
		if err := s.cgroups.Create(s.group(m.name), podLimits(m.spec)); err != nil {
			return err
		}
		return s.cgroups.LimitSteps(p.jobGroup(), cgroup.Limits{PIDs: m.spec.Resources.PIDs})
	})
	if err := g.Wait(); err != nil {
		return nil, errors.Join(err, p.close())
	}
	m.progress("Prepared ahead: network, container and supervisor")
	return p, nil
}

// relabel says in containerd whose the container is now. Should the agent die before, the pod's own directory says it.
func (s *Sandbox) relabel(ctx context.Context, m *making) error {
	id := containerID(m.name, jobName)
	record := containers.Container{ID: id, Labels: labels(m.spec)}
	if _, err := s.client.ContainerService().Update(ctx, record, "labels"); err != nil {
		return fmt.Errorf("labelling container %s: %w", id, err)
	}
	info := snapshots.Info{Name: id, Labels: map[string]string{labelPod: m.spec.ID}}
	if _, err := s.client.SnapshotService(s.cfg.Snapshotter).Update(ctx, info, "labels."+labelPod); err != nil {
		return fmt.Errorf("labelling snapshot %s: %w", id, err)
	}
	return nil
}

// obtain gives the job its pod, with the supervisor about to connect: one that was made ahead if there is one, or a new one.
func (s *Sandbox) obtain(ctx context.Context, m *making) (*Pod, procid.ID, error) {
	if a := s.pool.take(m.spec); a != nil {
		p, err := s.claim(ctx, m, a)
		if err == nil {
			return p, a.init, nil
		}
		clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanPatience)
		defer cancel()
		rmErr := errors.Join(s.remove(clean, a.name), s.remove(clean, m.spec.ID))
		if rmErr != nil || ctx.Err() != nil {
			return nil, procid.ID{}, errors.Join(err, rmErr)
		}
		s.pool.spoiled(m.spec, time.Now())
		s.cfg.Log.Warn("a pod that was made ahead can't be used; making another", "pod", m.spec.ID, "made_as", a.name, "err", err)
		m.name = m.spec.ID
	}
	if err := m.dir.make(s.cfg.StepsDir); err != nil {
		return nil, procid.ID{}, err
	}
	p, init, err := s.begin(ctx, m)
	if err == nil {
		p.sup.Trust(init, s.base(m))
	}
	return p, init, err
}
