package supervisor

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// account is who a step runs as.
type account struct {
	uid, gid uint32
	groups   []uint32
	home     string
}

// lookupUser resolves what an image's USER may say (OCI image configuration, "User"): user, uid, user:group, uid:gid …
// A number needs no entry in the files; a name does. With an explicit group there are no supplementary groups.
func lookupUser(spec, passwd, group string) (account, error) {
	if spec == "" {
		spec = "0"
	}
	name, groupName, explicit := strings.Cut(spec, ":")
	a := account{home: "/"}
	known := false
	for fields := range entries(passwd, 6) {
		uid, gid := fields[2], fields[3]
		if fields[0] != name && uid != name {
			continue
		}
		u, uerr := strconv.ParseUint(uid, 10, 32)
		g, gerr := strconv.ParseUint(gid, 10, 32)
		if uerr != nil || gerr != nil {
			continue
		}
		a.uid, a.gid, a.home, known = uint32(u), uint32(g), fields[5], true
		name = fields[0]
		break
	}
	if !known {
		u, err := strconv.ParseUint(name, 10, 32)
		if err != nil {
			return account{}, fmt.Errorf("user %q is not in the container's /etc/passwd", name)
		}
		a.uid = uint32(u)
	}
	if explicit {
		gid, err := lookupGroup(groupName, group)
		a.gid = gid
		return a, err
	}
	if known {
		a.groups = memberships(name, group)
	}
	return a, nil
}

func lookupGroup(name, file string) (uint32, error) {
	for fields := range entries(file, 3) {
		if fields[0] == name {
			name = fields[2]
			break
		}
	}
	gid, err := strconv.ParseUint(name, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("group %q is not in the container's /etc/group", name)
	}
	return uint32(gid), nil
}

func memberships(user, file string) []uint32 {
	var gids []uint32
	for fields := range entries(file, 4) {
		if !slices.Contains(strings.Split(fields[3], ","), user) {
			continue
		}
		if gid, err := strconv.ParseUint(fields[2], 10, 32); err == nil {
			gids = append(gids, uint32(gid))
		}
	}
	return gids
}

// maxAccounts bounds what is read of /etc/passwd and /etc/group, in bytes.
const maxAccounts = 1 << 20

// readAccounts reads a file that a step could have replaced: a pipe must not block the supervisor, nor a device fill it.
func readAccounts(file string) ([]byte, error) {
	f, err := os.OpenFile(file, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", file)
	}
	return io.ReadAll(io.LimitReader(f, maxAccounts))
}

// entries yields the lines of a colon-separated file that have at least so many fields; none if there is no file.
func entries(file string, least int) func(yield func([]string) bool) {
	return func(yield func([]string) bool) {
		data, err := readAccounts(file)
		if err != nil {
			return
		}
		for line := range strings.Lines(string(data)) {
			fields := strings.Split(strings.TrimRight(line, "\r\n"), ":")
			if len(fields) >= least && !yield(fields) {
				return
			}
		}
	}
}
