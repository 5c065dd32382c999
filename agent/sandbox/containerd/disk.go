package containerd

import (
	"context"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/slipway-ci/slipway/agent/sandbox"
)

// A file system counts as full below both: what a job needs to end in an orderly way does not fit.
const (
	fullBytes = 1 << 20
	fullPart  = 20 // a twentieth of the whole
)

// faultOf says whether the file system of a directory that should be writable is full or read-only.
func faultOf(dir, shown string) (sandbox.DiskFault, bool) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return sandbox.DiskFault{}, false
	}
	d := sandbox.DiskFault{Path: shown, ReadOnly: st.Flags&unix.ST_RDONLY != 0}
	size, free := uint64(st.Bsize)*st.Blocks, uint64(st.Bsize)*st.Bavail
	full := st.Blocks > 0 && free < fullBytes && free < size/fullPart
	noFiles := st.Files > 0 && st.Ffree == 0
	return d, d.ReadOnly || full || noFiles
}

// disks looks at every file system that a step writes to: mounts, the container's own layer, its output.
func (p *Pod) disks(st podState, output string) []sandbox.DiskFault {
	var faults []sandbox.DiskFault
	seen := map[unix.Fsid]bool{}
	look := func(dir, shown string) {
		var fs unix.Statfs_t
		if unix.Statfs(dir, &fs) != nil || seen[fs.Fsid] {
			return
		}
		seen[fs.Fsid] = true
		if d, bad := faultOf(dir, shown); bad {
			faults = append(faults, d)
		}
	}
	for _, m := range st.Writable {
		look(m.Source, m.Target)
	}
	if output != "" {
		look(filepath.Dir(output), filepath.Dir(output))
	}
	look(string(p.dir), string(p.dir))
	if root := p.sb.images.root; root != "" {
		look(root, "/")
	}
	return faults
}

// full is whether the disk with the images is.
func (i *images) full() bool {
	d, bad := faultOf(i.root, "/")
	return i.root != "" && bad && !d.ReadOnly
}

// snapshotRoot asks containerd where its snapshotter writes; "" if it does not say.
func (s *Sandbox) snapshotRoot(ctx context.Context) string {
	plugins, err := s.client.IntrospectionService().Plugins(ctx, "type==io.containerd.snapshotter.v1", "id=="+s.cfg.Snapshotter)
	if err != nil {
		s.cfg.Log.Warn("containerd does not say where its snapshots are", "err", err)
		return ""
	}
	for _, p := range plugins.GetPlugins() {
		if root := p.GetExports()["root"]; p.GetID() == s.cfg.Snapshotter && filepath.IsAbs(root) {
			return root
		}
	}
	return ""
}
