package containerd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/agent/sandbox/network"
	"github.com/slipway-ci/slipway/agent/supervisor/proto"
)

// A pod of isolation "untrusted" has a user namespace: its root is an ordinary user of the host, of a range of ids that no
// other pod has.
//
//	on disk, uid 0 ──mapped mount (layers, workspace, socket …)──▶ uid First on the host ═══ uid 0 in the container
//
// Files keep the owners that they would have without it: what the agent writes is root's inside, and what the job writes can
// be read and removed as ever. It needs no containerd that knows of it: the agent mounts the layers, and containerd is given the
// finished root file system.

// UserIDs is the range of the host's user and group ids that pods with a user namespace take theirs from.
type UserIDs struct {
	// First id of the first pod; 0 is defaultFirstID.
	First uint32
	// Pods is how many pods can have one at once; 0 is defaultIDPods.
	Pods int
}

const (
	// idsEach is how many users and groups a pod has: what images and tools expect to exist.
	idsEach = 1 << 16
	// defaultFirstID begins a range that systemd's "Users, Groups, UIDs and GIDs on systemd Systems" lists as unused, and
	// distributions' /etc/subuid stays far below.
	defaultFirstID = 1879048192
	defaultIDPods  = 1024
	// lastID keeps within what signed numbers hold, as some programs want.
	lastID = 1<<31 - 1
)

func (u *UserIDs) complete() error {
	if u.First == 0 {
		u.First = defaultFirstID
	}
	if u.Pods == 0 {
		u.Pods = defaultIDPods
	}
	if u.First < idsEach || u.Pods < 1 || uint64(u.First)+uint64(u.Pods)*idsEach > lastID+1 {
		return fmt.Errorf("containerd sandbox: user ids from %d for %d pods of %d each: they must lie between %d and %d", u.First, u.Pods, idsEach, idsEach, lastID)
	}
	return nil
}

// idMap is a pod's range: id 0 in the container is First on the host. The zero value is no user namespace.
type idMap struct {
	First uint32 `json:"first"`
	Size  uint32 `json:"size"`
}

func (m idMap) enabled() bool { return m.Size > 0 }

func (m idMap) spec() []specs.LinuxIDMapping {
	return []specs.LinuxIDMapping{{ContainerID: 0, HostID: m.First, Size: m.Size}}
}

// held is a process that does nothing, in namespaces that were made with it: a user namespace with the mapping, and a network
// namespace that belongs to it. Whoever wants to keep them pins them before close.
type held struct {
	pid  int
	user *os.File // the user namespace

	process *os.Process
	stdin   *os.File // it ends with this, also if the agent is killed
}

// hold starts such a process; helper is the supervisor's program. A user namespace can't be made without one: a process with
// several threads, as this is, may not enter it.
func (m idMap) hold(helper string) (*held, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("making a user namespace: %w", err)
	}
	maps := []syscall.SysProcIDMap{{ContainerID: 0, HostID: int(m.First), Size: int(m.Size)}}
	p, err := os.StartProcess(helper, []string{"slipway-user-namespace", proto.Hold}, &os.ProcAttr{
		Dir: "/", Env: []string{}, Files: []*os.File{r},
		Sys: &syscall.SysProcAttr{
			Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNET, UidMappings: maps, GidMappings: maps, GidMappingsEnableSetgroups: true,
		},
	})
	_ = r.Close()
	if err != nil {
		_ = w.Close()
		return nil, fmt.Errorf("making a user namespace: %w", err)
	}
	h := &held{pid: p.Pid, process: p, stdin: w}
	if h.user, err = os.Open(h.path("user")); err != nil {
		return nil, errors.Join(fmt.Errorf("making a user namespace: %w", err), h.close())
	}
	return h, nil
}

// path of a namespace of the process.
func (h *held) path(namespace string) string { return fmt.Sprintf("/proc/%d/ns/%s", h.pid, namespace) }

// close ends the process; nil is fine.
func (h *held) close() error {
	if h == nil {
		return nil
	}
	if h.user != nil {
		_ = h.user.Close()
	}
	if h.process == nil {
		return nil // of an annex: the namespace is pinned
	}
	_ = h.stdin.Close()
	_, err := h.process.Wait()
	return err
}

// idRanges says which pod has which range.
type idRanges struct {
	cfg UserIDs

	mu   sync.Mutex
	of   map[string]idMap // by pod
	used map[uint32]bool  // by first id
	next int              // where to look first: a range rests for as long as possible
}

func newIDRanges(cfg UserIDs) *idRanges {
	return &idRanges{cfg: cfg, of: map[string]idMap{}, used: map[uint32]bool{}}
}

// keep notes the range of a pod that an earlier process made.
func (r *idRanges) keep(pod string, m idMap) {
	if !m.enabled() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.of[pod], r.used[m.First] = m, true
}

// take gives a pod a range that no other pod has.
func (r *idRanges) take(pod string) (idMap, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.cfg.Pods {
		n := (r.next + i) % r.cfg.Pods
		first := r.cfg.First + uint32(n)*idsEach
		if r.used[first] {
			continue
		}
		m := idMap{First: first, Size: idsEach}
		r.of[pod], r.used[first], r.next = m, true, n+1
		return m, nil
	}
	return idMap{}, fmt.Errorf("all %d ranges of user ids are taken by other pods: raise `sandbox.user_ids.pods` in the agent's configuration", r.cfg.Pods)
}

// free gives back what a pod had, once nothing of it is left.
func (r *idRanges) free(pod string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if m, ok := r.of[pod]; ok {
		delete(r.of, pod)
		delete(r.used, m.First)
	}
}

// isolate gives the pod what its level of isolation asks for.
func (s *Sandbox) isolate(m *making) error {
	switch m.spec.Isolation {
	case "", sandbox.IsolationDefault:
		return nil
	case sandbox.IsolationUntrusted:
	default:
		return fmt.Errorf("isolation %q: %w", m.spec.Isolation, sandbox.ErrUnsupported)
	}
	if why := s.abilities.Isolation[sandbox.IsolationUntrusted]; why != "" {
		return fmt.Errorf("isolation %s: %s: %w", m.spec.Isolation, why, sandbox.ErrUnsupported)
	}
	var err error
	if m.ids, err = s.ids.take(m.spec.ID); err != nil {
		return err
	}
	m.held, err = m.ids.hold(s.supervisor())
	return err
}

// getNetwork gives the pod its network namespace: its user namespace's own if it has one.
func (s *Sandbox) getNetwork(ctx context.Context, m *making) (network.Namespace, error) {
	if m.held != nil {
		return s.network.Adopt(ctx, m.spec.Egress, m.held.pid)
	}
	return s.network.Get(ctx, m.spec.Egress)
}

// mountsOf is where the mounts of a pod with a user namespace are. It lies outside Config.Dir, which only root may enter: the
// container's root, an ordinary user of the host, must reach its root file system.
func (s *Sandbox) mountsOf(pod string) string { return filepath.Join(s.cfg.MountDir, pod) }
