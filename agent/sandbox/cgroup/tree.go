package cgroup

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// removeTree removes directories only, deepest first: a cgroup's files vanish with it.
func removeTree(dir string) error {
	below, err := children(dir)
	if err != nil {
		return err
	}
	for _, d := range below {
		if err := removeTree(d); err != nil {
			return err
		}
	}
	return ignoreGone(unix.Rmdir(dir))
}

// walk calls f for a group's directory and for all below it. What is gone is left out.
func walk(dir string, f func(dir string) error) error {
	if err := f(dir); err != nil {
		return err
	}
	below, err := children(dir)
	if err != nil {
		return err
	}
	for _, d := range below {
		if err := walk(d, f); err != nil {
			return err
		}
	}
	return nil
}

// children are the directories in one. Most groups have none, and forty files: that a directory has two links, itself and its name, says so
// without reading it (the kernel's kernfs counts as other file systems do).
func children(dir string) ([]string, error) {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return nil, ignoreGone(err)
	}
	if st.Nlink == 2 {
		return nil, nil
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, ignoreGone(err)
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() {
			out = append(out, filepath.Join(dir, e.Name()))
		}
	}
	return out, nil
}
