// Package agentconf reads an agent's configuration: one YAML file, every key known or refused.
package agentconf

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/internal/cli/strictyaml"
)

// Config is an agent's configuration.
type Config struct {
	// Coordinator is host:port.
	Coordinator string `yaml:"coordinator"`
	// DataDir keeps the agent's identity, its database and the jobs' workspaces. Absolute.
	DataDir string `yaml:"data_dir"`
	// RunDir is for secrets of running jobs, on a tmpfs; "" chooses one.
	RunDir string `yaml:"run_dir,omitempty"`
	// TokenFile holds a join token; needed for the first start only.
	TokenFile string `yaml:"token_file,omitempty"`
	// CA is a file with the coordinator's CA certificate; "" if the token's pin suffices.
	CA string `yaml:"ca,omitempty"`
	// Hostname for people; "" asks the system.
	Hostname string `yaml:"hostname,omitempty"`
	// Slots is how many jobs run at once; 0 is twice the number of processors.
	Slots int `yaml:"slots,omitempty"`
	// Metrics is the loopback address of /metrics; "" for none.
	Metrics string `yaml:"metrics,omitempty"`
	// Drain is how long an agent that is told to stop waits for its jobs; 0 is DefaultDrain.
	Drain time.Duration `yaml:"drain,omitempty"`
	// Sandbox is where jobs run.
	Sandbox Sandbox `yaml:"sandbox,omitempty"`
}

// DefaultDrain is how long an agent waits for its jobs when it is told to stop.
const DefaultDrain = 5 * time.Minute

// Kinds of sandboxes.
const (
	// Containerd runs jobs in containers.
	Containerd = "containerd"
	// Process runs them as processes of the host, which isolates nothing.
	Process = "process"
)

// ProcessLabel must be in the certificate of an agent whose sandbox is Process: who made its join token agreed to it.
const ProcessLabel = "process"

// Sandbox is where jobs run. Two agents on one host differ in namespace, control group, bridge and subnet.
type Sandbox struct {
	// Kind is "containerd" or "process"; "" is containerd.
	Kind string `yaml:"kind,omitempty"`
	// ToolCache is the host's directory in which setup actions find tools; with kind process only. "" is /opt/hostedtoolcache.
	ToolCache string `yaml:"tool_cache,omitempty"`
	// Socket is containerd's; "" is /run/containerd/containerd.sock.
	Socket string `yaml:"socket,omitempty"`
	// Namespace in containerd, and the absolute path of the control group above the pods; with kind process, "none" is none.
	Namespace string `yaml:"namespace,omitempty"`
	Cgroup    string `yaml:"cgroup,omitempty"`
	// Bridge and Subnet of the pods' network.
	Bridge string `yaml:"bridge,omitempty"`
	Subnet string `yaml:"subnet,omitempty"`
	// Registries by host:port.
	Registries map[string]Registry `yaml:"registries,omitempty"`
	// CABundle is a PEM file of the host that every container is to trust, e.g. of a proxy.
	CABundle string `yaml:"ca_bundle,omitempty"`
	// PassEnv names variables of the agent that every container gets, e.g. HTTPS_PROXY.
	PassEnv []string `yaml:"pass_env,omitempty"`
	// Runtimes by the name that pools' policies use, beside and over runc, crun, runsc and kata.
	Runtimes map[string]Runtime `yaml:"runtimes,omitempty"`
	// UserIDs is where jobs of isolation untrusted take their users from.
	UserIDs UserIDs `yaml:"user_ids,omitempty"`
	// WarmPods is how many pods wait ready for each of the few kinds of jobs that came last; nil is DefaultWarmPods, 0 none.
	WarmPods *int `yaml:"warm_pods,omitempty"`
}

// DefaultWarmPods are kept ready without configuration.
const DefaultWarmPods = 1

// Warm is what WarmPods comes to.
func (s Sandbox) Warm() int {
	if s.WarmPods == nil {
		return DefaultWarmPods
	}
	return *s.WarmPods
}

// Runtime is what runs containers: one of its keys.
type Runtime struct {
	// Path of a program with runc's command line, absolute.
	Path string `yaml:"path,omitempty"`
	// Type is containerd's name of a shim of its own, such as io.containerd.runsc.v1.
	Type string `yaml:"type,omitempty"`
}

// UserIDs is a range of the host's user and group ids that nobody else has.
type UserIDs struct {
	// First of them; 0 is 1879048192.
	First uint32 `yaml:"first,omitempty"`
	// Pods that can have 65,536 each at once; 0 is 1024.
	Pods int `yaml:"pods,omitempty"`
}

// Registry says how to speak to one.
type Registry struct {
	PlainHTTP bool   `yaml:"plain_http,omitempty"`
	Username  string `yaml:"username,omitempty"`
	// PasswordFile holds the password.
	PasswordFile string `yaml:"password_file,omitempty"`
}

// DefaultSocket is where distributions' containerd listens.
const DefaultSocket = "/run/containerd/containerd.sock"

// Load reads a file. Check says whether the result is usable.
func Load(path string) (Config, error) {
	src, err := os.ReadFile(path)
	if err != nil {
		return Config{}, fmt.Errorf("reading the agent's configuration: %w", err)
	}
	var c Config
	return c, strictyaml.Decode(path, src, &c)
}

// Check says what is wrong with a configuration.
func (c Config) Check() error {
	var errs []error
	if _, _, err := net.SplitHostPort(c.Coordinator); err != nil {
		errs = append(errs, fmt.Errorf("coordinator %q: want host:port (flag --coordinator)", c.Coordinator))
	}
	if !filepath.IsAbs(c.DataDir) {
		errs = append(errs, fmt.Errorf("data_dir %q must be absolute (flag --data)", c.DataDir))
	}
	if c.Slots < 0 {
		errs = append(errs, fmt.Errorf("slots is %d, want 0 or more", c.Slots))
	}
	if c.Drain < 0 {
		errs = append(errs, fmt.Errorf("drain is %s, want a time such as 5m", c.Drain))
	}
	if c.Sandbox.Subnet != "" {
		if _, _, err := net.ParseCIDR(c.Sandbox.Subnet); err != nil {
			errs = append(errs, fmt.Errorf("sandbox.subnet: %w", err))
		}
	}
	return errors.Join(append(errs, c.Sandbox.check()...)...)
}

// check refuses keys that mean nothing to the kind: who wrote them expects something.
func (s Sandbox) check() []error {
	foreign := map[string]bool{}
	switch s.Kind {
	case "", Containerd:
		foreign["tool_cache"] = s.ToolCache != ""
	case Process:
		foreign = map[string]bool{"socket": s.Socket != "", "namespace": s.Namespace != "", "bridge": s.Bridge != "", "subnet": s.Subnet != "", "registries": len(s.Registries) > 0,
			"runtimes": len(s.Runtimes) > 0, "user_ids": s.UserIDs != (UserIDs{}), "warm_pods": s.WarmPods != nil}
	default:
		return []error{fmt.Errorf("sandbox.kind %q: want %s or %s", s.Kind, Containerd, Process)}
	}
	var errs []error
	if s.Warm() < 0 {
		errs = append(errs, fmt.Errorf("sandbox.warm_pods is %d, want 0 or more", s.Warm()))
	}
	for _, key := range slices.Sorted(maps.Keys(foreign)) {
		if foreign[key] {
			errs = append(errs, fmt.Errorf("sandbox.%s means nothing with kind %s; remove it", key, cmp.Or(s.Kind, Containerd)))
		}
	}
	return errs
}

// Token reads the join token; "" if there is no file for it.
func (c Config) Token() (string, error) {
	if c.TokenFile == "" {
		return "", nil
	}
	return secret("join token", c.TokenFile)
}

// CABytes reads the coordinator's CA; nil if there is no file for it.
func (c Config) CABytes() ([]byte, error) {
	if c.CA == "" {
		return nil, nil
	}
	b, err := os.ReadFile(c.CA)
	if err != nil {
		return nil, fmt.Errorf("reading the coordinator's CA: %w", err)
	}
	return b, nil
}

// Password reads a registry's password; "" if it has none.
func (r Registry) Password() (string, error) {
	if r.PasswordFile == "" {
		return "", nil
	}
	return secret("password of a registry", r.PasswordFile)
}

// Env is what PassEnv comes to: KEY=value for those that are set.
func (s Sandbox) Env(getenv func(string) string) []string {
	var out []string
	for _, k := range s.PassEnv {
		if v := getenv(k); v != "" {
			out = append(out, k+"="+v)
		}
	}
	return out
}

func secret(what, path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("reading the %s: %w", what, err)
	}
	return strings.TrimSpace(string(b)), nil
}
