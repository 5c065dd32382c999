package config

import (
	"path"
	"regexp"
)

// Pool is the policy of a pool of agents: what holds for every job that runs there, whatever its workflow says. A pool that is not
// named in the file has the zero policy.
type Pool struct {
	// Isolation is "default", or "untrusted" for code of strangers: a user namespace, no secrets, caches of its own. "" is default.
	Isolation string `yaml:"isolation"`
	// Runtime names the container runtime: runc, crun, runsc, kata, or one of the agents' configuration. "" is each agent's own choice.
	Runtime string `yaml:"runtime"`
	// HostPaths are what `volumes` may mount of the agents' hosts: these very paths, and nothing below or above them.
	HostPaths []string `yaml:"host_paths"`
}

// The levels of isolation.
const (
	IsolationDefault   = "default"
	IsolationUntrusted = "untrusted"
)

// poolName is also what a join token's pool may be: it becomes part of a cache scope.
var (
	poolName    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)
	runtimeName = regexp.MustCompile(`^[A-Za-z0-9]+([._-][A-Za-z0-9]+)*$`)
)

// Untrusted is whether the code that runs in the pool may be anybody's.
func (p Pool) Untrusted() bool { return p.Isolation == IsolationUntrusted }

// Secrets is whether a job in the pool may be given any secret. Whoever hands one out asks this first.
func (p Pool) Secrets() bool { return !p.Untrusted() }

// Debug is whether the pods of failed jobs may be held for people to look into. Strangers' code must not wait there for somebody who has
// more rights than it has.
func (p Pool) Debug() bool { return !p.Untrusted() }

// CacheScope is where the caches of the pool's jobs are written, and the only place in which they are read, name being the pool's; ""
// is the project's own.
func (p Pool) CacheScope(name string) string {
	if p.Untrusted() {
		return "untrusted/" + name
	}
	return ""
}

func (c Config) checkPools(add func(key []string, hint, format string, args ...any)) {
	for name, p := range c.Pools {
		if !poolName.MatchString(name) {
			add([]string{"pools", name}, "", "a pool's name is of letters, digits and . _ -, at most 63")
		}
		switch p.Isolation {
		case "", IsolationDefault, IsolationUntrusted:
		default:
			add([]string{"pools", name, "isolation"}, "", "%q is neither %s nor %s", p.Isolation, IsolationDefault, IsolationUntrusted)
		}
		if p.Runtime != "" && (len(p.Runtime) > 64 || !runtimeName.MatchString(p.Runtime)) {
			add([]string{"pools", name, "runtime"}, "a path or containerd's type of it belongs into the agents' configuration, `sandbox.runtimes`", "%q is not a runtime's name", p.Runtime)
		}
		for _, dir := range p.HostPaths {
			if !path.IsAbs(dir) || path.Clean(dir) != dir || dir == "/" {
				add([]string{"pools", name, "host_paths"}, "", "%q is not an absolute path without . and .., and below /", dir)
			}
		}
		if p.Untrusted() && len(p.HostPaths) > 0 {
			add([]string{"pools", name, "host_paths"}, "make it another pool", "an untrusted pool's jobs can't be given paths of the host")
		}
	}
}
