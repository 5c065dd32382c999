package containerd

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/slipway-ci/slipway/agent/sandbox"
)

// subIDFiles list the ranges that the host's administrator gave to users (subuid(5), subgid(5)).
var subIDFiles = []string{"/etc/subuid", "/etc/subgid"}

// Abilities implements sandbox.Able: what was found when the sandbox was opened.
func (s *Sandbox) Abilities() sandbox.Abilities { return s.abilities }

// findAbilities tries what pods may ask for.
func (s *Sandbox) findAbilities() sandbox.Abilities {
	a := sandbox.Abilities{Isolation: map[sandbox.Isolation]string{sandbox.IsolationDefault: ""}, Runtimes: map[string]string{}}
	for name, r := range s.cfg.allRuntimes() {
		a.Runtimes[name] = ""
		if _, err := r.find(); err != nil {
			a.Runtimes[name] = err.Error()
		}
	}
	why := ""
	if err := s.probeUserNamespaces(); err != nil {
		why = "no user namespaces: " + err.Error()
	}
	a.Isolation[sandbox.IsolationUntrusted] = why
	return a
}

// probeUserNamespaces makes a namespace, maps the owners of every file system that pods see, and mounts a root file system.
func (s *Sandbox) probeUserNamespaces() (err error) {
	if data, err := os.ReadFile("/proc/sys/user/max_user_namespaces"); err == nil && strings.TrimSpace(string(data)) == "0" {
		return errors.New("user.max_user_namespaces is 0")
	}
	for _, file := range subIDFiles {
		if err := s.cfg.UserIDs.disjoint(file); err != nil {
			return err
		}
	}
	ids := idMap{First: s.cfg.UserIDs.First, Size: idsEach}
	h, err := ids.hold(s.supervisor())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, h.close()) }()
	for _, dir := range append([]string{s.cfg.Dir}, s.cfg.Volumes...) {
		tree, err := cloneMapped(existing(dir), h.user)
		if err != nil {
			return err
		}
		_ = unix.Close(tree)
	}
	return s.probeRoot(ids, h.user)
}

// existing is the directory, or the nearest one above it that is there already.
func existing(dir string) string {
	for {
		if _, err := os.Stat(dir); err == nil || dir == filepath.Dir(dir) {
			return dir
		}
		dir = filepath.Dir(dir)
	}
}

// probeRoot mounts a root file system as pods have one, and looks whether a file of root's is the range's there.
func (s *Sandbox) probeRoot(ids idMap, ns *os.File) (err error) {
	const pod = ".probe" // no pod's id begins so
	if err := s.unmountUser(pod); err != nil {
		return err
	}
	where := s.cfg.Dir
	if s.images.root != "" {
		where = s.images.root
	}
	scratch, err := os.MkdirTemp(where, "slipway-probe-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.unmountUser(pod), os.RemoveAll(scratch)) }()
	o := overlay{lower: []string{filepath.Join(scratch, "lower")}, upper: filepath.Join(scratch, "upper"), work: filepath.Join(scratch, "work")}
	for _, dir := range []string{o.lower[0], o.upper, o.work, filepath.Join(o.lower[0], "file")} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	if err := s.makeMountDir(); err != nil {
		return err
	}
	if err := o.mount(s.mountsOf(pod), ids, ns); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(s.mountsOf(pod), "root", "file"), &st); err != nil {
		return err
	}
	if st.Uid != ids.First {
		return fmt.Errorf("overlayfs does not map owners on this kernel (%d instead of %d); it needs Linux 5.19", st.Uid, ids.First)
	}
	return nil
}

// disjoint is an error if the range is also someone's in a file of subuid(5).
func (u UserIDs) disjoint(file string) error {
	f, err := os.Open(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	first, end := uint64(u.First), uint64(u.First)+uint64(u.Pods)*idsEach
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Split(strings.TrimSpace(lines.Text()), ":")
		if len(fields) != 3 || fields[0] == "slipway" || strings.HasPrefix(fields[0], "#") {
			continue
		}
		start, startErr := strconv.ParseUint(fields[1], 10, 32)
		count, countErr := strconv.ParseUint(fields[2], 10, 32)
		if startErr != nil || countErr != nil {
			continue
		}
		if start < end && first < start+count {
			return fmt.Errorf("%s gives ids from %d on to %s, and pods would have %d to %d: choose others (`sandbox.user_ids` in the agent's configuration)",
				file, start, fields[0], first, end-1)
		}
	}
	return lines.Err()
}
