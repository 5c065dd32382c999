package containerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/core/mount"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/slipway-ci/slipway/agent/sandbox"
)

// mapTree attaches a copy of what is mounted at source to target, with the owners of its files mapped. Neither set-user-id
// bits nor device nodes count in it.
func mapTree(source, target string, ns *os.File) error {
	tree, err := cloneMapped(source, ns)
	if err != nil {
		return err
	}
	defer unix.Close(tree)
	info, err := os.Stat(source)
	if err != nil {
		return err
	}
	if info.IsDir() {
		err = os.MkdirAll(target, 0o700)
	} else {
		err = os.WriteFile(target, nil, 0o600)
	}
	if err != nil {
		return err
	}
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mounting %s at %s: %w", source, target, err)
	}
	return nil
}

// cloneMapped returns a descriptor of a mount that is attached nowhere. See mount_setattr(2), "ID-mapped mounts".
func cloneMapped(source string, ns *os.File) (int, error) {
	tree, err := unix.OpenTree(unix.AT_FDCWD, source, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("copying the mount of %s: %w", source, err)
	}
	err = unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, &unix.MountAttr{
		Attr_set:    unix.MOUNT_ATTR_IDMAP | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV,
		Propagation: unix.MS_PRIVATE, Userns_fd: uint64(ns.Fd()),
	})
	if err != nil {
		_ = unix.Close(tree)
		return -1, fmt.Errorf("mapping the owners of files in %s (its file system, or this kernel, may not be able to): %w", source, err)
	}
	return tree, nil
}

// userMounts are what a pod with a user namespace shares between its containers: mapped copies of what is mounted into them.
func (s *Sandbox) userMounts(m *making) error {
	if !m.ids.enabled() {
		return nil
	}
	dir := s.mountsOf(m.spec.ID)
	if err := s.makeMountDir(); err != nil {
		return err
	}
	// Only root and this pod's root may pass.
	if err := errors.Join(os.Mkdir(dir, 0o710), os.Chown(dir, 0, int(m.ids.First)), os.Chmod(dir, 0o710)); err != nil {
		return fmt.Errorf("directory of mounts: %w", err)
	}
	if err := os.WriteFile(s.userNamespace(m.spec.ID), nil, 0o600); err != nil {
		return fmt.Errorf("pinning a user namespace: %w", err)
	}
	if err := unix.Mount(m.held.path("user"), s.userNamespace(m.spec.ID), "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("pinning a user namespace: %w", err)
	}
	trees := map[string]string{m.dir.run(): "run", m.dir.etc(""): "etc"}
	for i, mnt := range m.spec.Mounts {
		trees[mnt.Source] = "mount" + strconv.Itoa(i)
	}
	for i, svc := range m.spec.Services {
		for k, mnt := range svc.Mounts {
			if trees[mnt.Source] == "" {
				trees[mnt.Source] = fmt.Sprintf("service%d-%d", i, k)
			}
		}
	}
	m.mapped = map[string]string{}
	for source, name := range trees {
		target := filepath.Join(dir, name)
		if err := mapTree(source, target, m.held.user); err != nil {
			return err
		}
		m.mapped[filepath.Clean(source)] = target
	}
	return nil
}

// userAnnex gives an annex what the containers of a pod with a user namespace share.
func (s *Sandbox) userAnnex(m *making, box *Pod) error {
	if !m.ids.enabled() {
		return nil
	}
	user, err := os.Open(s.userNamespace(m.spec.ID))
	if err != nil {
		return fmt.Errorf("the pod's user namespace: %w", err)
	}
	m.held = &held{user: user}
	dir := s.mountsOf(m.spec.ID)
	m.mapped = map[string]string{m.dir.etc(""): filepath.Join(dir, "etc"), box.run(): filepath.Join(dir, "run-"+box.box)}
	for i, mnt := range m.spec.Mounts {
		m.mapped[filepath.Clean(mnt.Source)] = filepath.Join(dir, "mount"+strconv.Itoa(i))
	}
	return mapTree(box.run(), m.mapped[box.run()], user)
}

// unmountAnnex takes apart what is mounted for one annex.
func (s *Sandbox) unmountAnnex(pod, name string) error {
	dir := s.mountsOf(pod)
	targets, err := mountedBelow(dir)
	if err != nil {
		return err
	}
	for _, target := range slices.Backward(targets) {
		if target == filepath.Join(dir, "run-"+name) || strings.HasPrefix(target, filepath.Join(dir, name)+"/") {
			if err := unix.Unmount(target, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
				return fmt.Errorf("unmounting %s: %w", target, err)
			}
		}
	}
	return nil
}

// userNamespace is where a pod's user namespace is pinned, for its containers to share.
func (s *Sandbox) userNamespace(pod string) string { return filepath.Join(s.mountsOf(pod), "user") }

// makeMountDir makes what is above the pods' mounts; every pod must be able to pass.
func (s *Sandbox) makeMountDir() error {
	if err := errors.Join(os.MkdirAll(s.cfg.MountDir, 0o711), os.Chmod(s.cfg.MountDir, 0o711)); err != nil {
		return fmt.Errorf("directory of mounts: %w", err)
	}
	return nil
}

// userRoot mounts a container's root file system: its snapshot, with mapped layers. It is the runtime's root directory as it is.
func (s *Sandbox) userRoot(ctx context.Context, m *making, key, name string) error {
	if !m.ids.enabled() {
		return nil
	}
	mounts, err := s.client.SnapshotService(s.cfg.Snapshotter).Mounts(ctx, key)
	if err != nil {
		return fmt.Errorf("mounts of %s: %w", key, err)
	}
	o, err := parseOverlay(mounts)
	if err != nil {
		return fmt.Errorf("snapshotter %s: %w: %w", s.cfg.Snapshotter, err, sandbox.ErrUnsupported)
	}
	return o.mount(filepath.Join(s.mountsOf(m.spec.ID), name), m.ids, m.held.user)
}

// overlay is what the overlayfs snapshotter says of a writable snapshot.
type overlay struct {
	lower       []string
	upper, work string
	others      []string
}

func parseOverlay(mounts []mount.Mount) (overlay, error) {
	var o overlay
	if len(mounts) != 1 || mounts[0].Type != "overlay" {
		return o, errors.New("its snapshots are not one overlay each, and only those can have mapped owners")
	}
	for _, option := range mounts[0].Options {
		key, value, _ := strings.Cut(option, "=")
		switch key {
		case "lowerdir":
			o.lower = strings.Split(value, ":")
		case "upperdir":
			o.upper = value
		case "workdir":
			o.work = value
		case "uidmap", "gidmap":
			return o, fmt.Errorf("its snapshots are mapped already (%s)", option)
		default:
			o.others = append(o.others, option)
		}
	}
	if len(o.lower) == 0 || o.upper == "" || o.work == "" {
		return o, errors.New("its snapshot is not writable")
	}
	return o, nil
}

// mount makes dir/root the overlay. The layers' mounts live only until it holds its own copies of them.
func (o overlay) mount(dir string, ids idMap, ns *os.File) (err error) {
	root := filepath.Join(dir, "root")
	if err := os.MkdirAll(root, 0o755); err != nil {
		return err
	}
	var layers []*os.File
	defer func() {
		for i, f := range layers {
			target := layerDir(dir, i)
			err = errors.Join(err, f.Close(), ignoreInvalid(unix.Unmount(target, unix.MNT_DETACH)), os.Remove(target))
		}
	}()
	// Named by descriptors: the options of a mount are one page, and an image can have more than a hundred layers.
	lower := make([]string, 0, len(o.lower))
	for i, layer := range o.lower {
		target := layerDir(dir, i)
		if err := mapTree(layer, target, ns); err != nil {
			return err
		}
		f, err := os.OpenFile(target, unix.O_PATH|unix.O_DIRECTORY, 0)
		if err != nil {
			return err
		}
		layers = append(layers, f)
		lower = append(lower, "/proc/self/fd/"+strconv.Itoa(int(f.Fd())))
	}
	// What the container writes belongs to its own users on disk, too. The directory is its "/".
	if err := os.Lchown(o.upper, int(ids.First), int(ids.First)); err != nil {
		return err
	}
	options := append(slices.Clone(o.others), "lowerdir="+strings.Join(lower, ":"), "upperdir="+o.upper, "workdir="+o.work)
	if err := unix.Mount("overlay", root, "overlay", unix.MS_NOSUID|unix.MS_NODEV, strings.Join(options, ",")); err != nil {
		return fmt.Errorf("mounting a root file system with mapped owners: %w", err)
	}
	return nil
}

func layerDir(dir string, i int) string { return filepath.Join(dir, "layer"+strconv.Itoa(i)) }

// ignoreInvalid: nothing was mounted there.
func ignoreInvalid(err error) error {
	if errors.Is(err, unix.EINVAL) {
		return nil
	}
	return err
}

// userSpec changes a container's spec to one with a user namespace.
func (s *Sandbox) userSpec(m *making, c container, spec *specs.Spec) {
	ids := m.ids.spec()
	spec.Linux.UIDMappings, spec.Linux.GIDMappings = ids, ids
	spec.Linux.Namespaces = append(spec.Linux.Namespaces, specs.LinuxNamespace{Type: specs.UserNamespace, Path: s.userNamespace(m.spec.ID)})
	spec.Root.Path = filepath.Join(s.mountsOf(m.spec.ID), c.name, "root")
	sealed := []string{"nosuid", "nodev"} // as the mapped mount is: without them the kernel would refuse it
	for i, mnt := range spec.Mounts {
		if mnt.Type != "bind" {
			continue
		}
		if mapped, ok := m.mappedPath(mnt.Source); ok {
			spec.Mounts[i].Source = mapped
			spec.Mounts[i].Options = append(slices.Clone(mnt.Options), sealed...)
		}
	}
}

// mappedPath is where a source, or the directory that it is in, is mounted with mapped owners.
func (m *making) mappedPath(source string) (string, bool) {
	source = filepath.Clean(source)
	if target, ok := m.mapped[source]; ok {
		return target, true
	}
	target, ok := m.mapped[filepath.Dir(source)]
	return filepath.Join(target, filepath.Base(source)), ok
}

// unmountUser takes apart what is mounted for a pod with a user namespace, whoever made it. Idempotent.
func (s *Sandbox) unmountUser(pod string) error {
	dir := s.mountsOf(pod)
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	targets, err := mountedBelow(dir)
	if err != nil {
		return err
	}
	for _, target := range slices.Backward(targets) {
		if err := unix.Unmount(target, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("unmounting %s: %w", target, err)
		}
	}
	// Directories and empty files only: should something be mounted still, what is in it must not go.
	return removeEmpty(dir)
}

// mountedBelow lists the mounts beneath a directory, in the order in which they were made.
func mountedBelow(dir string) ([]string, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var found []string
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], dir+"/") {
			found = append(found, f[4])
		}
	}
	return found, nil
}

func removeEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		info, err := e.Info()
		switch {
		case err != nil:
		case info.IsDir():
			err = removeEmpty(path)
		case info.Size() > 0:
			err = fmt.Errorf("%s should be empty", path)
		default:
			err = unix.Unlink(path)
		}
		if err != nil {
			return err
		}
	}
	return unix.Rmdir(dir)
}
