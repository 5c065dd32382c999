package devstack

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// marker is the variable that every process of a stack has in its environment: DIRECTORY:NAME.
const marker = "SLIPWAY_DEV_PROCESS"

// identity names one process for as long as the machine runs.
type identity struct {
	PID int `json:"pid"`
	// Start is field 22 of /proc/PID/stat (proc(5)): ticks from boot to the process's start.
	Start uint64 `json:"start"`
	// Boot is the machine's boot id, because ticks begin anew with each boot.
	Boot string `json:"boot"`
}

// identify reads the identity of a live process; os.ErrProcessDone if there is none, or only its zombie.
func identify(pid int) (identity, error) {
	state, start, err := stat(pid)
	if err != nil {
		return identity{}, err
	}
	if state == 'Z' || state == 'X' {
		return identity{}, os.ErrProcessDone
	}
	boot, err := bootID()
	return identity{pid, start, boot}, err
}

// alive says whether the very same process still runs.
func (i identity) alive() bool {
	now, err := identify(i.PID)
	return err == nil && now == i
}

func bootID() (string, error) {
	b, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("reading the boot id: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// stat reads state and start time. The command's name is in parentheses and may hold any byte, also parentheses.
func stat(pid int) (state byte, start uint64, err error) {
	b, err := os.ReadFile(procPath(pid, "stat"))
	if errors.Is(err, os.ErrNotExist) {
		return 0, 0, os.ErrProcessDone
	}
	if err != nil {
		return 0, 0, err
	}
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) < 20 {
		return 0, 0, fmt.Errorf("%s has %d fields after the name, want at least 20", procPath(pid, "stat"), len(fields))
	}
	start, err = strconv.ParseUint(fields[19], 10, 64)
	return fields[0][0], start, err
}

func procPath(pid int, file string) string { return filepath.Join("/proc", strconv.Itoa(pid), file) }

// sameBinary says whether a process runs the file that is at path now: a rebuilt binary is another file.
func sameBinary(pid int, path string) bool {
	running, err := os.Stat(procPath(pid, "exe"))
	if err != nil {
		return false
	}
	file, err := os.Stat(path)
	return err == nil && os.SameFile(running, file)
}

// marked returns the live processes whose environment says that they belong to dir: name → pids. They are what a stack
// started, and what those processes started.
func marked(dir string) (map[string][]int, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	out := map[string][]int{}
	prefix := marker + "=" + dir + ":"
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		// Unreadable: another user's, or gone since; neither is ours.
		env, err := os.ReadFile(procPath(pid, "environ"))
		if err != nil {
			continue
		}
		for v := range bytes.SplitSeq(env, []byte{0}) {
			if name, ok := strings.CutPrefix(string(v), prefix); ok {
				if _, err := identify(pid); err == nil {
					out[name] = append(out[name], pid)
				}
			}
		}
	}
	return out, nil
}

// hasArgv says whether a process was started with exactly this command line.
func hasArgv(pid int, argv []string) bool {
	b, err := os.ReadFile(procPath(pid, "cmdline"))
	return err == nil && slices.Equal(strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00"), argv)
}
