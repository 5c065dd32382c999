package containerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"
	"golang.org/x/sync/errgroup"

	"github.com/slipway-ci/slipway/agent/sandbox"
)

// removeTries is how often a container is tried to be removed; removePause, after the first failure, grows with each.
const (
	removeTries = 5
	removePause = 50 * time.Millisecond
)

// Remove implements sandbox.Sandbox.
func (s *Sandbox) Remove(ctx context.Context, id string) error {
	if err := checkID("pod", id); err != nil {
		return err
	}
	defer s.pool.busy()()
	defer s.lockPod(id)()
	_, err := os.Stat(string(s.dir(id)))
	s.mu.Lock()
	attached := s.pods[id] != nil
	if !attached && err == nil {
		s.again[id] = true
	}
	s.mu.Unlock()
	if err := s.remove(ctx, id); err != nil {
		return err
	}
	if attached {
		s.mu.Lock()
		delete(s.again, id)
		s.mu.Unlock()
	}
	return nil
}

// remove takes a pod apart in an order in which each part can be found again if the agent dies in between: the directory
// goes last.
func (s *Sandbox) remove(ctx context.Context, id string) error {
	ctx = s.context(ctx)
	st, err := s.dir(id).load()
	if err != nil && !errors.Is(err, sandbox.ErrNotFound) {
		s.cfg.Log.Warn("a pod's state file is unreadable; its network namespace is released at the next start", "pod", id, "err", err)
	}
	name := or(st.name(), id)
	if p := s.attached(id); p != nil && p.annexes.end() {
		s.mu.Lock()
		s.again[id] = true
		s.mu.Unlock()
	}
	if err := s.cgroups.Kill(ctx, s.group(name)); err != nil {
		return fmt.Errorf("removing pod %s: %w", id, err)
	}
	s.mu.Lock()
	p, again := s.pods[id], s.again[id]
	s.mu.Unlock()
	if p == nil || again {
		// Of an earlier process, or not completed: containerd may have more of it than it has containers.
		if err := s.adoptOrphans(ctx, id, name); err != nil {
			return fmt.Errorf("removing pod %s: %w", id, err)
		}
	}
	if err := s.unmountUser(id); err != nil {
		return fmt.Errorf("removing pod %s: %w", id, err)
	}
	if err := s.removeContainers(ctx, id, name); err != nil {
		return fmt.Errorf("removing pod %s: %w", id, err)
	}
	if st.Namespace != "" {
		if err := s.network.Release(ctx, st.Namespace); err != nil {
			return fmt.Errorf("removing pod %s: %w", id, err)
		}
	}
	if err := s.cgroups.Remove(ctx, s.group(name)); err != nil {
		return fmt.Errorf("removing pod %s: %w", id, err)
	}
	s.ids.free(id)
	s.mu.Lock()
	delete(s.pods, id)
	s.mu.Unlock()
	if p != nil {
		err = p.close()
	} else {
		err = nil
	}
	if rmErr := s.dir(id).remove(); rmErr != nil && !errors.Is(rmErr, fs.ErrNotExist) {
		err = errors.Join(err, fmt.Errorf("removing pod %s: %w", id, rmErr))
	}
	return err
}

// removeContainers deletes the tasks, containers and snapshots that carry the pod's label, and verifies it. Of a pod that was
// made ahead they may still carry that name.
func (s *Sandbox) removeContainers(ctx context.Context, id, name string) error {
	filters := []string{fmt.Sprintf("labels.%q==%q", labelPod, id)}
	if name != id {
		filters = append(filters, fmt.Sprintf("labels.%q==%q", labelPod, name))
	}
	found, err := s.client.Containers(ctx, filters...)
	if err != nil {
		return fmt.Errorf("finding containers: %w", err)
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(shimLimit)
	for _, c := range found {
		g.Go(func() error { return s.removeContainer(gctx, c) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	service := s.client.SnapshotService(s.cfg.Snapshotter)
	var keys []string
	if err := service.Walk(ctx, func(_ context.Context, info snapshots.Info) error {
		keys = append(keys, info.Name)
		return nil
	}, filters...); err != nil {
		return fmt.Errorf("finding snapshots: %w", err)
	}
	for _, key := range keys {
		if err := service.Remove(ctx, key); err != nil && !errdefs.IsNotFound(err) {
			return fmt.Errorf("removing snapshot %s: %w", key, err)
		}
	}
	left, err := s.client.ContainerService().List(ctx, filters...)
	if err != nil {
		return fmt.Errorf("verifying: %w", err)
	}
	if len(left) > 0 {
		return fmt.Errorf("%d containers are still there", len(left))
	}
	return nil
}

// removeContainer tries a few times: a shim that ends with its last container hangs up on whoever asks it to delete another.
func (s *Sandbox) removeContainer(ctx context.Context, c containerd.Container) error {
	for try := 1; ; try++ {
		err := s.removeTask(ctx, c)
		if err == nil {
			if err = c.Delete(ctx); errdefs.IsNotFound(err) {
				return nil
			}
		}
		if err == nil || try == removeTries {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Duration(try) * removePause):
		}
	}
}
