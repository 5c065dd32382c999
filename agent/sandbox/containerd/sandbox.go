package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/agent/sandbox/cgroup"
	"github.com/slipway-ci/slipway/agent/sandbox/network"
	"github.com/slipway-ci/slipway/agent/supervisor/embedded"
)

const (
	lockPatience = time.Second
	lockPoll     = 10 * time.Millisecond
)

// labelPod is on every container and snapshot of a pod.
const labelPod = "slipway.dev/pod"

// Sandbox implements sandbox.Sandbox on containerd.
type Sandbox struct {
	cfg     Config
	client  *containerd.Client
	images  *images
	network *network.Network
	cgroups *cgroup.Host
	pool    *pool
	ids     *idRanges
	guard   *diskGuard
	// filter is what seccomp makes of the capabilities of every container; see confine.go.
	filter func() []byte
	// abilities are what findAbilities found.
	abilities sandbox.Abilities

	lock  *os.File // held while open: one agent at a time
	close func() error

	mu   sync.Mutex
	pods map[string]*Pod // attached ones
	// closed: nothing is done later any more. background is what is.
	closed     bool
	background sync.WaitGroup
	busy       map[string]*podLock
	// again are pods that an earlier process had begun: containerd may still be making parts of them.
	again map[string]bool
}

// podLock keeps Create, Attach and Remove of one pod apart.
type podLock struct {
	mu    sync.Mutex
	users int // who hold it or wait for it, under Sandbox.mu
}

var (
	_ sandbox.Sandbox = (*Sandbox)(nil)
	_ sandbox.Able    = (*Sandbox)(nil)
)

// New connects to containerd and takes over what an earlier agent left in cfg.Dir.
func New(ctx context.Context, cfg Config) (*Sandbox, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	s := &Sandbox{cfg: cfg, pods: map[string]*Pod{}, busy: map[string]*podLock{}, again: map[string]bool{}, ids: newIDRanges(cfg.UserIDs)}
	s.filter = sync.OnceValue(s.compileFilter)
	for _, dir := range []string{s.podsDir(), or(cfg.StepsDir, s.podsDir())} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("containerd sandbox: %w", err)
		}
	}
	if err := s.acquire(ctx); err != nil {
		return nil, err
	}
	if err := s.connect(ctx); err != nil {
		if s.client != nil {
			_ = s.client.Close()
		}
		_ = s.lock.Close()
		return nil, err
	}
	s.pool = newPool(s)
	s.pool.begin()
	s.guard = newDiskGuard(s)
	s.close = sync.OnceValue(s.letGo)
	return s, nil
}

// acquire keeps a second agent away: it would take this one's namespaces for leftovers. What an agent was about to execute when
// it was killed holds its lock for a moment longer.
func (s *Sandbox) acquire(ctx context.Context) error {
	var err error
	if s.lock, err = os.OpenFile(filepath.Join(s.cfg.Dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return fmt.Errorf("containerd sandbox: %w", err)
	}
	deadline := time.Now().Add(lockPatience)
	for {
		err := unix.Flock(int(s.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) || ctx.Err() != nil || time.Now().After(deadline) {
			_ = s.lock.Close()
			return fmt.Errorf("containerd sandbox: %s is in use by another agent: %w", s.cfg.Dir, err)
		}
		<-time.After(lockPoll)
	}
}

func (s *Sandbox) connect(ctx context.Context) error {
	var err error
	if s.cgroups, err = cgroup.Detect(); err != nil {
		return err
	}
	if err := embedded.Install(s.supervisor()); err != nil {
		return err
	}
	inUse, err := s.namespacesInUse()
	if err != nil {
		return err
	}
	s.client, err = containerd.New(s.cfg.Socket, containerd.WithDefaultNamespace(s.cfg.Namespace),
		containerd.WithExtraDialOpts(patience()))
	if err != nil {
		return fmt.Errorf("connecting to containerd at %s: %w", s.cfg.Socket, err)
	}
	first, cancel := context.WithTimeout(ctx, firstPatience)
	defer cancel()
	if _, err := s.client.Version(first); err != nil {
		return fmt.Errorf("containerd at %s does not answer: %w", s.cfg.Socket, err)
	}
	if err := s.dropLeases(s.context(ctx)); err != nil {
		return err
	}
	s.images = newImages(s.client, s.cfg, s.snapshotRoot(s.context(ctx)))
	s.abilities = s.findAbilities()
	s.network, err = network.Open(ctx, s.cfg.Network, inUse, s.cfg.Log)
	return err
}

// dropLeases lets containerd collect what pulls of an earlier agent left half-unpacked; their leases would hold it for a day.
func (s *Sandbox) dropLeases(ctx context.Context) error {
	service := s.client.LeasesService()
	held, err := service.List(ctx)
	if err != nil {
		return fmt.Errorf("listing leases: %w", err)
	}
	for i, l := range held {
		var opts []leases.DeleteOpt
		if i == len(held)-1 {
			opts = append(opts, leases.SynchronousDelete)
		}
		if err := service.Delete(ctx, l, opts...); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("deleting lease %s of an earlier agent: %w", l.ID, err)
		}
	}
	return nil
}

func (s *Sandbox) podsDir() string        { return filepath.Join(s.cfg.Dir, "pods") }
func (s *Sandbox) dir(id string) podDir   { return podDir(filepath.Join(s.podsDir(), id)) }
func (s *Sandbox) supervisor() string     { return filepath.Join(s.cfg.Dir, "supervisor") }
func (s *Sandbox) group(id string) string { return filepath.Join(s.cfg.CgroupParent, id) }

func (s *Sandbox) context(ctx context.Context) context.Context {
	return namespaces.WithNamespace(ctx, s.cfg.Namespace)
}

// namespacesInUse names the network namespaces of all pods on disk, and notes their ranges of user ids.
func (s *Sandbox) namespacesInUse() ([]string, error) {
	ids, err := s.onDisk()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, id := range ids {
		st, err := s.dir(id).load()
		if err != nil && !errors.Is(err, sandbox.ErrNotFound) {
			return nil, err
		}
		s.ids.keep(id, st.IDs)
		if st.Namespace != "" {
			names = append(names, st.Namespace)
		}
	}
	return names, nil
}

func (s *Sandbox) onDisk() ([]string, error) {
	entries, err := os.ReadDir(s.podsDir())
	if err != nil {
		return nil, fmt.Errorf("listing pods: %w", err)
	}
	var ids []string
	for _, e := range entries {
		ids = append(ids, e.Name())
	}
	return ids, nil
}

// List implements sandbox.Sandbox: whatever has a directory or a container. Pods that were made ahead are nobody's; the pool
// itself sweeps those of earlier agents.
func (s *Sandbox) List(ctx context.Context) ([]string, error) {
	ids, err := s.onDisk()
	if err != nil {
		return nil, err
	}
	records, err := s.client.ContainerService().List(s.context(ctx))
	if err != nil {
		return nil, fmt.Errorf("listing containers: %w", err)
	}
	for _, c := range records {
		if id := c.Labels[labelPod]; id != "" {
			ids = append(ids, id)
		}
	}
	tasks, err := s.tasks(s.context(ctx))
	if err != nil {
		return nil, err
	}
	for _, t := range tasks {
		if i := strings.LastIndexByte(t, '.'); i > 0 && checkID("pod", t[:i]) == nil {
			ids = append(ids, t[:i])
		}
	}
	slices.Sort(ids)
	return slices.DeleteFunc(slices.Compact(ids), isAhead), nil
}

// lockPod takes the pod's lock; it exists only while somebody wants it.
func (s *Sandbox) lockPod(id string) (unlock func()) {
	s.mu.Lock()
	l := s.busy[id]
	if l == nil {
		l = &podLock{}
		s.busy[id] = l
	}
	l.users++
	s.mu.Unlock()
	l.mu.Lock()
	return func() {
		l.mu.Unlock()
		s.mu.Lock()
		defer s.mu.Unlock()
		if l.users--; l.users == 0 {
			delete(s.busy, id)
		}
	}
}

// Attach implements sandbox.Sandbox.
func (s *Sandbox) Attach(_ context.Context, id string) (sandbox.Pod, error) {
	if err := checkID("pod", id); err != nil {
		return nil, err
	}
	defer s.lockPod(id)()
	if p := s.attached(id); p != nil {
		return p, nil
	}
	st, err := s.dir(id).load()
	if err != nil {
		return nil, fmt.Errorf("attaching to pod %s: %w", id, err)
	}
	if st.Init.PID == 0 {
		return nil, fmt.Errorf("attaching to pod %s, which was never completed: %w", id, sandbox.ErrNotFound)
	}
	p, err := s.newPod(id, st.name())
	if err != nil {
		return nil, err
	}
	p.state = st
	if err := p.hold(st.Init); err != nil {
		return nil, errors.Join(err, p.close())
	}
	p.sup.Trust(st.Init, nil)
	if err := s.attachAnnexes(p); err != nil {
		return nil, errors.Join(err, p.close())
	}
	s.keep(p)
	return p, nil
}

func (s *Sandbox) attached(id string) *Pod {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pods[id]
}

func (s *Sandbox) keep(p *Pod) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pods[p.id] = p
}

// later does what nobody has to wait for; Close waits for it.
func (s *Sandbox) later(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.background.Go(f)
	}
}

// Close implements sandbox.Sandbox.
func (s *Sandbox) Close() error { return s.close() }

func (s *Sandbox) letGo() error {
	poolErr := s.pool.close()
	s.mu.Lock()
	pods := s.pods
	s.pods = map[string]*Pod{}
	s.closed = true
	s.mu.Unlock()
	for _, p := range pods {
		p.annexes.end()
	}
	s.background.Wait()
	s.guard.close()
	errs := []error{poolErr}
	for _, p := range pods {
		errs = append(errs, p.close())
	}
	return errors.Join(append(errs, s.network.Close(), s.client.Close(), s.lock.Close())...)
}

// Uninstall removes what the sandbox shares between pods on the host: bridge and packet filter rules. Call it after Close,
// once no pod is left.
func (s *Sandbox) Uninstall(ctx context.Context) error {
	err := os.Remove(s.cfg.MountDir)
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	if s.cfg.StepsDir != "" {
		err = errors.Join(err, os.RemoveAll(s.cfg.StepsDir))
	}
	return errors.Join(s.network.Destroy(ctx), s.cgroups.Remove(ctx, s.cfg.CgroupParent), err)
}
