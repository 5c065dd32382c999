package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// Join moves a process with all its threads into a group that Create made. What it forks from then on is in it, too.
func (h *Host) Join(group string, pid int) error {
	joined := false
	for _, m := range h.mounts {
		dir := filepath.Join(m.path, group)
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			continue // Create makes no groups in this hierarchy
		}
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o644); err != nil {
			return fmt.Errorf("moving process %d into control group %s: %w", pid, group, err)
		}
		joined = true
	}
	if !joined {
		return fmt.Errorf("moving process %d: no control group %s", pid, group)
	}
	return nil
}
