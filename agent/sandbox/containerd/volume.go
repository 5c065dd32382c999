package containerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"sync"

	"github.com/containerd/containerd/v2/core/mount"
	confs "github.com/containerd/continuity/fs"

	"github.com/slipway-ci/slipway/agent/sandbox"
)

// A volume is a directory of its pod's, so that it goes with it. As in Docker, a new one gets what the image has where it is first
// mounted: programs expect their directories, with their owners.

var volumeName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$`)

// volumes gives a pod's volumes their directories.
func (s *Sandbox) volumes(m *making) error {
	m.seeded = &seeds{done: map[string]bool{}}
	var err error
	if m.spec.Mounts, err = m.dir.placeVolumes(m.spec.Mounts); err != nil {
		return err
	}
	m.spec.Services = slices.Clone(m.spec.Services)
	for i := range m.spec.Services {
		if m.spec.Services[i].Mounts, err = m.dir.placeVolumes(m.spec.Services[i].Mounts); err != nil {
			return err
		}
	}
	return nil
}

func (d podDir) placeVolumes(mounts []sandbox.Mount) ([]sandbox.Mount, error) {
	mounts = slices.Clone(mounts)
	for i, mnt := range mounts {
		if mnt.Volume == "" {
			continue
		}
		if !volumeName.MatchString(mnt.Volume) {
			return nil, fmt.Errorf("%q can't be the name of a volume", mnt.Volume)
		}
		mounts[i].Source = d.volume(mnt.Volume)
		if err := os.MkdirAll(mounts[i].Source, 0o755); err != nil {
			return nil, fmt.Errorf("volume %s: %w", mnt.Volume, err)
		}
	}
	return mounts, nil
}

// allMounts are those of all the pod's containers.
func allMounts(spec sandbox.PodSpec) []sandbox.Mount {
	all := slices.Clone(spec.Mounts)
	for _, svc := range spec.Services {
		all = append(all, svc.Mounts...)
	}
	return all
}

// seeds are the volumes of a pod that have what their image has.
type seeds struct {
	mu   sync.Mutex // held while one is filled: its next container waits
	done map[string]bool
}

// seed fills a container's new volumes from its file system, which key names and no process uses yet.
func (s *Sandbox) seed(ctx context.Context, m *making, key string, mounts []sandbox.Mount) error {
	if !slices.ContainsFunc(mounts, func(mnt sandbox.Mount) bool { return mnt.Volume != "" }) {
		return nil
	}
	m.seeded.mu.Lock()
	defer m.seeded.mu.Unlock()
	root, err := s.client.SnapshotService(s.cfg.Snapshotter).Mounts(ctx, key)
	if err != nil {
		return fmt.Errorf("mounts of %s: %w", key, err)
	}
	return mount.WithTempMount(ctx, mount.RemoveVolatileOption(root), func(root string) error {
		for _, mnt := range mounts {
			if mnt.Volume == "" || m.seeded.done[mnt.Volume] {
				continue
			}
			if has, err := os.ReadDir(mnt.Source); err != nil || len(has) > 0 { // another container has begun to use it
				m.seeded.done[mnt.Volume] = true
				continue
			}
			// Links in an image lead nowhere but into it.
			source, err := confs.RootPath(root, mnt.Target)
			if err != nil {
				return fmt.Errorf("volume %s: %w", mnt.Volume, err)
			}
			if info, err := os.Stat(source); errors.Is(err, fs.ErrNotExist) || err == nil && !info.IsDir() {
				continue
			}
			if err := confs.CopyDir(mnt.Source, source); err != nil {
				return fmt.Errorf("volume %s: copying what the image has at %s: %w", mnt.Volume, mnt.Target, err)
			}
			m.seeded.done[mnt.Volume] = true
		}
		return nil
	})
}
