package supervisor

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
)

// Become replaces this process by a command whose environment has, over its own, the KEY=value entries of a JSON list in a file. So what
// is secret of them stands in no container's specification. It returns only errors.
func Become(file string, argv []string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("the environment: %w", err)
	}
	var entries []string
	if err := json.Unmarshal(data, &entries); err != nil || len(argv) == 0 {
		return fmt.Errorf("the environment in %s, or the command, can't be read", file) // the error would quote it
	}
	for _, e := range entries {
		name, value, _ := strings.Cut(e, "=")
		if err := os.Setenv(name, value); err != nil {
			return fmt.Errorf("the variable %q: %w", name, err)
		}
	}
	path, err := exec.LookPath(argv[0])
	if err != nil {
		return err
	}
	return &os.PathError{Op: "exec", Path: path, Err: syscall.Exec(path, argv, os.Environ())}
}
