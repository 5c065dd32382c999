package cgroup

import (
	"fmt"
	"os"
	"path/filepath"
)

// Own lets a user of the host who is not root start processes in the group, as clone3(2) with CLONE_INTO_CGROUP asks it of him: he
// must be able to write the cgroup.procs of the group, and of the one above that it shares with where he is. What else the group's
// files say stays root's. In v1 who has the descriptor may.
func (h *Host) Own(group string, id uint32) error {
	if !h.Unified() {
		return nil
	}
	if err := os.Lchown(filepath.Join(h.mounts[0].path, group, "cgroup.procs"), int(id), int(id)); err != nil {
		return fmt.Errorf("control group %s: %w", group, err)
	}
	return nil
}
