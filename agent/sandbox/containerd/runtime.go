package containerd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/containerd/containerd/api/types/runc/options"
	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/plugins"

	"github.com/slipway-ci/slipway/agent/sandbox"
)

// Runtime is what runs containers under a name that pools may ask for. One of Path and Type is set.
type Runtime struct {
	// Path of a program with runc's command line, absolute or to be looked up in PATH.
	Path string
	// Type is containerd's name of a shim of its own, such as io.containerd.runsc.v1.
	Type string
}

const (
	versionPatience = 5 * time.Second
	// hybridControllers is there where both versions of control groups are mounted.
	hybridControllers = "/sys/fs/cgroup/unified/cgroup.controllers"
)

// knownRuntimes are there without configuration, if their programs are.
var knownRuntimes = map[string]Runtime{
	"runc":  {Path: "runc"},
	"crun":  {Path: "crun"},
	"runsc": {Type: "io.containerd.runsc.v1"},
	"kata":  {Type: "io.containerd.kata.v2"},
}

// shimType is a runtime's type: containerd makes the shim's program name from its last two parts (runtime v2, README).
var shimType = regexp.MustCompile(`^([a-z0-9]+\.)+([a-z0-9-]+)\.(v[0-9]+)$`)

func (r Runtime) check() error {
	switch {
	case (r.Path == "") == (r.Type == ""):
		return errors.New("want either a path or a type")
	case r.Path != "" && strings.ContainsRune(r.Path, '/') && !filepath.IsAbs(r.Path):
		return fmt.Errorf("path %q is not absolute", r.Path)
	case r.Type != "" && !shimType.MatchString(r.Type):
		return fmt.Errorf("type %q: want one such as io.containerd.runsc.v1", r.Type)
	}
	return nil
}

// program is what must be there for the runtime to work.
func (r Runtime) program() string {
	if r.Path != "" {
		return r.Path
	}
	m := shimType.FindStringSubmatch(r.Type)
	return "containerd-shim-" + m[2] + "-" + m[3]
}

// find returns where the program is.
func (r Runtime) find() (string, error) {
	path, err := exec.LookPath(r.program())
	if err != nil {
		return "", fmt.Errorf("%s is not there, or can't be executed: install it, or say in the agent's configuration (`sandbox.runtimes`) where it is", r.program())
	}
	if r.Path != "" {
		return path, usable(path)
	}
	return path, nil
}

// usable asks a program with runc's command line for its version, and knows what its kind can't do.
func usable(path string) error {
	ctx, cancel := context.WithTimeout(context.Background(), versionPatience)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		return fmt.Errorf("%s --version: %w", path, err)
	}
	if !bytes.HasPrefix(out, []byte("crun ")) {
		return nil
	}
	// crun refuses hosts on which cgroup v1 has some controllers and v2 others (its "cgroups in hybrid mode not supported").
	both, err := os.ReadFile(hybridControllers)
	if controllers := strings.TrimSpace(string(both)); err == nil && controllers != "" {
		return fmt.Errorf("%s does not work with this host's control groups, of which v1 has some controllers and v2 others (%s): boot with one version only", path, controllers)
	}
	return nil
}

// allRuntimes are the known ones and the configured ones, which win.
func (c *Config) allRuntimes() map[string]Runtime {
	all := map[string]Runtime{}
	for name, r := range knownRuntimes {
		all[name] = r
	}
	for name, r := range c.Runtimes {
		all[name] = r
	}
	return all
}

func (c *Config) checkRuntimes() error {
	for name, r := range c.Runtimes {
		if err := checkID("runtime", name); err != nil {
			return fmt.Errorf("containerd sandbox: %w", err)
		}
		if err := r.check(); err != nil {
			return fmt.Errorf("containerd sandbox: runtime %s: %w", name, err)
		}
	}
	return nil
}

// specVersion is one that every runtime takes for its own: crun before 1.9 refuses what is newer, although nothing newer is in the
// specs that are made here.
const specVersion = "1.0.2"

// FindRuntime says why a runtime of this name can't be used here; nil if it can.
func FindRuntime(name string, configured map[string]Runtime) error {
	r, known := (&Config{Runtimes: configured}).allRuntimes()[name]
	if !known {
		return fmt.Errorf("no runtime is named %s", name)
	}
	_, err := r.find()
	return err
}

// runtimeOpt is how containerd is told of the pod's runtime; nil where it may choose, as it does without a name.
func (s *Sandbox) runtimeOpt(spec sandbox.PodSpec) (containerd.NewContainerOpts, error) {
	if spec.Runtime == "" {
		return nil, nil //nolint:nilnil // nothing to say is no error
	}
	r, known := s.cfg.allRuntimes()[spec.Runtime]
	if !known {
		return nil, fmt.Errorf("this agent knows no runtime %s (`sandbox.runtimes` in its configuration): %w", spec.Runtime, sandbox.ErrUnsupported)
	}
	path, err := r.find()
	if err != nil {
		return nil, fmt.Errorf("runtime %s: %w: %w", spec.Runtime, err, sandbox.ErrUnsupported)
	}
	if r.Type == "" {
		return containerd.WithRuntime(plugins.RuntimeRuncV2, &options.Options{BinaryName: path}), nil
	}
	if spec.Isolation == sandbox.IsolationUntrusted {
		// Who mounts the root file system, and with which owners, is such a shim's own affair.
		return nil, fmt.Errorf("runtime %s is a shim of its own (%s), and user namespaces are only for programs like runc: give its pool isolation default: %w",
			spec.Runtime, r.Type, sandbox.ErrUnsupported)
	}
	return containerd.WithRuntime(r.Type, nil), nil
}
