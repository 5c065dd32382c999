package supervisor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/slipway-ci/slipway/agent/supervisor/proto"
)

// defaultPath is searched when a step's environment has no PATH, as Docker does.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

var errNotFound = errors.New("command not found")

// command is a step ready for ForkExec.
type command struct {
	path       string
	argv, env  []string
	dir        string
	credential *syscall.Credential
}

// resolve merges a step with its pod's base and finds its user, directory and executable.
func resolve(spec *proto.Step, base *proto.Base) (*command, error) {
	if len(spec.Argv) == 0 || spec.Argv[0] == "" {
		return nil, &startError{proto.CauseInvalid, errors.New("the step has no command")}
	}
	if base == nil {
		base = &proto.Base{}
	}
	account, err := lookupUser(first(spec.User, base.User), "/etc/passwd", "/etc/group")
	if err != nil {
		return nil, &startError{proto.CauseUser, err}
	}
	cmd := &command{
		argv: spec.Argv,
		env:  mergeEnv(base.Env, spec.Env),
		dir:  first(spec.Dir, base.Dir, "/"),
		credential: &syscall.Credential{
			Uid: account.uid, Gid: account.gid, Groups: account.groups,
		},
	}
	if os.Getuid() != 0 {
		cmd.credential = nil // only root may change it; without containers, steps run as whoever supervises
	}
	if getenv(cmd.env, "HOME") == "" {
		cmd.env = append(cmd.env, "HOME="+account.home)
	}
	if info, err := os.Stat(cmd.dir); err != nil || !info.IsDir() {
		return nil, &startError{proto.CauseDirectory, fmt.Errorf("working directory %s does not exist in the container", cmd.dir)}
	}
	path := getenv(cmd.env, "PATH")
	cmd.path, err = findExecutable(spec.Argv[0], cmd.dir, path)
	if errors.Is(err, errNotFound) && len(spec.Otherwise) > 0 {
		if other, otherErr := findExecutable(spec.Otherwise[0], cmd.dir, path); otherErr == nil {
			cmd.argv, cmd.path, err = spec.Otherwise, other, nil
		}
	}
	if err != nil {
		return nil, &startError{proto.CauseNotFound, err}
	}
	return cmd, nil
}

// findExecutable searches as execvp does: names with a slash are relative to dir, others looked up in path.
func findExecutable(name, dir, path string) (string, error) {
	if strings.Contains(name, "/") {
		full := name
		if !filepath.IsAbs(full) {
			full = filepath.Join(dir, name)
		}
		if _, err := os.Stat(full); errors.Is(err, os.ErrNotExist) {
			return "", fmt.Errorf("%s: %w", name, errNotFound)
		}
		return full, nil // whether it may be executed, exec itself says
	}
	if path == "" {
		path = defaultPath
	}
	for _, d := range filepath.SplitList(path) {
		if !filepath.IsAbs(d) {
			d = filepath.Join(dir, d)
		}
		full := filepath.Join(d, name)
		if info, err := os.Stat(full); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return full, nil
		}
	}
	return "", fmt.Errorf("%s: %w in PATH %s", name, errNotFound, path)
}

// mergeEnv lays over on base; the last of equal keys wins, at the first one's place.
func mergeEnv(base, over []string) []string {
	out := make([]string, 0, len(base)+len(over)+1)
	at := make(map[string]int, len(base)+len(over))
	for _, list := range [][]string{base, over} {
		for _, entry := range list {
			key, _, _ := strings.Cut(entry, "=")
			if i, ok := at[key]; ok {
				out[i] = entry
				continue
			}
			at[key] = len(out)
			out = append(out, entry)
		}
	}
	return out
}

func getenv(env []string, key string) string {
	for i := len(env) - 1; i >= 0; i-- {
		if k, v, _ := strings.Cut(env[i], "="); k == key {
			return v
		}
	}
	return ""
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
