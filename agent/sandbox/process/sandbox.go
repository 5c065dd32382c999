package process

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/agent/sandbox/cgroup"
	"github.com/slipway-ci/slipway/agent/supervisor/embedded"
)

// Sandbox implements sandbox.Sandbox with ordinary processes.
type Sandbox struct {
	cfg Config
	// groups is nil where pods have no control groups; why tells the reason.
	groups *cgroup.Host
	why    string

	lock  *os.File // held while open: one agent at a time
	close func() error

	mu     sync.Mutex
	closed bool
	pods   map[string]*Pod // attached ones
	busy   map[string]*podLock
}

// podLock keeps Create, Attach and Remove of one pod apart.
type podLock struct {
	mu    sync.Mutex
	users int // who hold it or wait for it, under Sandbox.mu
}

var (
	_ sandbox.Sandbox   = (*Sandbox)(nil)
	_ sandbox.HostPaths = (*Sandbox)(nil)
	_ sandbox.Able      = (*Sandbox)(nil)
)

// noContainers is why this sandbox can't do what pools' policies ask for.
const noContainers = "it runs jobs as processes of its host (`sandbox.kind: process`)"

// Abilities implements sandbox.Able.
func (s *Sandbox) Abilities() sandbox.Abilities {
	return sandbox.Abilities{
		Isolation: map[sandbox.Isolation]string{sandbox.IsolationDefault: "", sandbox.IsolationUntrusted: noContainers},
		Runtimes:  map[string]string{"runc": noContainers, "crun": noContainers, "runsc": noContainers, "kata": noContainers},
	}
}

// New takes over what an earlier agent left in cfg.Dir.
func New(ctx context.Context, cfg Config) (*Sandbox, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	s := &Sandbox{cfg: cfg, pods: map[string]*Pod{}, busy: map[string]*podLock{}}
	if err := os.MkdirAll(s.podsDir(), 0o700); err != nil {
		return nil, fmt.Errorf("process sandbox: %w", err)
	}
	if err := s.acquire(); err != nil {
		return nil, err
	}
	err := embedded.Install(s.supervisor())
	if err == nil {
		err = s.openGroups(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.lock.Close())
	}
	s.close = sync.OnceValue(s.letGo)
	return s, nil
}

// acquire keeps a second agent away from the same pods.
func (s *Sandbox) acquire() error {
	var err error
	if s.lock, err = os.OpenFile(filepath.Join(s.cfg.Dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return fmt.Errorf("process sandbox: %w", err)
	}
	if err := unix.Flock(int(s.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return errors.Join(fmt.Errorf("process sandbox: %s is in use by another agent: %w", s.cfg.Dir, err), s.lock.Close())
	}
	return nil
}

func (s *Sandbox) podsDir() string      { return filepath.Join(s.cfg.Dir, "pods") }
func (s *Sandbox) dir(id string) podDir { return podDir(filepath.Join(s.podsDir(), id)) }
func (s *Sandbox) supervisor() string   { return filepath.Join(s.cfg.Dir, "supervisor") }

// ToolCache implements sandbox.HostPaths.
func (s *Sandbox) ToolCache() string { return s.cfg.ToolCache }

// List implements sandbox.Sandbox: whatever has a directory.
func (s *Sandbox) List(context.Context) ([]string, error) {
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
	s.mu.Lock()
	p := s.pods[id]
	s.mu.Unlock()
	if p != nil {
		return p, nil
	}
	st, err := s.dir(id).load()
	if err != nil {
		return nil, fmt.Errorf("attaching to pod %s: %w", id, err)
	}
	if st.Init.PID == 0 {
		return nil, fmt.Errorf("attaching to pod %s, which was never completed: %w", id, sandbox.ErrNotFound)
	}
	if p, err = s.newPod(id, st.Group); err != nil {
		return nil, err
	}
	if err := p.bind(st.Init, nil); err != nil {
		return nil, errors.Join(err, p.close())
	}
	if err := s.keep(p); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

func (s *Sandbox) keep(p *Pod) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errClosed
	}
	s.pods[p.id] = p
	return nil
}

// Remove implements sandbox.Sandbox.
func (s *Sandbox) Remove(ctx context.Context, id string) error {
	if err := checkID("pod", id); err != nil {
		return err
	}
	defer s.lockPod(id)()
	if err := s.remove(ctx, id); err != nil {
		return fmt.Errorf("removing pod %s: %w", id, err)
	}
	return nil
}

// remove takes a pod apart so that each part can be found again if the agent dies in between: the directory goes last.
func (s *Sandbox) remove(ctx context.Context, id string) error {
	dir := s.dir(id)
	st, err := dir.load()
	if errors.Is(err, sandbox.ErrNotFound) || err == nil && st.Group == "" {
		st.Group = s.groupOf(id) // half made: there may be one all the same
	} else if err != nil {
		s.cfg.Log.Warn("a pod's state file is unreadable; its processes are found by other signs", "pod", id, "err", err)
		st.Group = s.groupOf(id)
	}
	if err := s.kill(ctx, dir, st.Group); err != nil {
		return err
	}
	if st.Init.PID != 0 {
		collect(st.Init.PID)
	}
	if err := s.removeGroup(ctx, st.Group); err != nil {
		return err
	}
	s.mu.Lock()
	p := s.pods[id]
	delete(s.pods, id)
	s.mu.Unlock()
	err = nil
	if p != nil {
		err = p.close()
	}
	if rmErr := os.RemoveAll(string(dir)); rmErr != nil && !errors.Is(rmErr, fs.ErrNotExist) {
		err = errors.Join(err, rmErr)
	}
	return err
}

// Close implements sandbox.Sandbox.
func (s *Sandbox) Close() error { return s.close() }

func (s *Sandbox) letGo() error {
	s.mu.Lock()
	pods := s.pods
	s.pods, s.closed = map[string]*Pod{}, true
	s.mu.Unlock()
	var errs []error
	for _, p := range pods {
		errs = append(errs, p.close())
	}
	return errors.Join(append(errs, s.lock.Close())...)
}

// Uninstall removes the control group above the pods. Call it after Close, once no pod is left.
func (s *Sandbox) Uninstall(ctx context.Context) error { return s.removeGroup(ctx, s.cfg.CgroupParent) }
