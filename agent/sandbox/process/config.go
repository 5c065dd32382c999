// Package process is the sandbox for hosts without containers: a step is an ordinary process of the host. It isolates
// nothing: a job can read, change and kill whatever the agent's user can. An operator has to ask for it.
//
// What it keeps of a pod's promises: steps run through Slipway's supervisor, in a session of its own, so they outlive the
// agent; output, exit codes, time limits and stopping are as in a container; and Remove leaves no process. For that it knows
// a pod's processes by four signs, as no single one is certain:
//
//	the control group      where the agent may make one: holds everything, and enforces the limits
//	descent                whatever a step starts, the supervisor adopts when its parent ends
//	a mark                 SLIPWAY_POD=<the pod's directory> in the environment: still there when the supervisor is not
//	the supervisor's argv  names the pod's directory: also if the agent died before it noted the pid
//
// A process that clears its environment, outlives a supervisor killed from outside, and is in no control group of the pod is
// the one that gets away.
//
// What an agent must know of a pod after a restart lies in Config.Dir/pods/ID:
//
//	pod.json        the pod's state: its supervisor and its control group
//	run/            the agent's socket, and the supervisor's working directory
//	log/            output of the supervisor itself
//	steps/ID.asked  a step was asked for; ID.exit is its exit record, written by the supervisor
//
// No environment of a job lies there: the supervisor gets it over its socket and keeps it in memory.
package process

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
)

// Config of a sandbox. Two sandboxes on one host differ in Dir.
type Config struct {
	// Dir keeps the sandbox's state. It must outlive the agent, and nobody else may write to it. Its file system must allow
	// execution: the supervisor's binary lies there.
	Dir string
	// CgroupParent is the absolute control group above the pods, NoGroups, or "": then root's pods are below /slipway, and
	// those of an agent to which a group named "agent" was delegated beside it.
	CgroupParent string
	// ToolCache is where setup actions find tools on this host; "" is /opt/hostedtoolcache.
	ToolCache string
	// Path is the PATH of steps; "" is the agent's own.
	Path string
	// CABundle is a PEM file of the host that tools are told to trust; "" is none.
	CABundle string
	// PassEnv entries, KEY=value, are set for every step: the host's proxies.
	PassEnv []string
	Log     *slog.Logger
}

// NoGroups as the CgroupParent: no control groups, though they could be made.
const NoGroups = "none"

const (
	defaultToolCache = "/opt/hostedtoolcache"
	defaultPath      = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

func (c *Config) complete() error {
	if !filepath.IsAbs(c.Dir) {
		return fmt.Errorf("process sandbox: dir %q must be absolute", c.Dir)
	}
	c.Dir = filepath.Clean(c.Dir) // marks are compared as text
	if c.CgroupParent != "" && c.CgroupParent != NoGroups && (!filepath.IsAbs(c.CgroupParent) || filepath.Clean(c.CgroupParent) == "/") {
		return fmt.Errorf("process sandbox: cgroup parent %q must be an absolute path below /", c.CgroupParent)
	}
	if c.ToolCache == "" {
		c.ToolCache = defaultToolCache
	}
	if !filepath.IsAbs(c.ToolCache) {
		return fmt.Errorf("process sandbox: tool cache %q must be absolute", c.ToolCache)
	}
	if c.Path == "" {
		c.Path = os.Getenv("PATH")
	}
	if c.Path == "" {
		c.Path = defaultPath
	}
	if c.CABundle != "" {
		if _, err := os.Stat(c.CABundle); err != nil {
			return fmt.Errorf("process sandbox: CA bundle: %w", err)
		}
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return nil
}

// caEnv names the variables by which common tools are told of a bundle of certificate authorities.
var caEnv = []string{
	"SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "GIT_SSL_CAINFO", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "PIP_CERT",
	"AWS_CA_BUNDLE", "CARGO_HTTP_CAINFO",
}

// hostEnv is what every step gets. Nothing else of the agent's environment reaches one.
func (c *Config) hostEnv() []string {
	home, err := os.UserHomeDir()
	if err != nil {
		home = "/"
	}
	env := append([]string{"PATH=" + c.Path, "HOME=" + home}, c.PassEnv...)
	if c.CABundle != "" {
		for _, name := range caEnv {
			env = append(env, name+"="+c.CABundle)
		}
	}
	return env
}

// safeID is what a pod's or step's id may be: it names files and control groups.
var safeID = regexp.MustCompile(`^[A-Za-z0-9]+([._-][A-Za-z0-9]+)*$`)

const maxID = 64

func checkID(what, id string) error {
	if len(id) > maxID || !safeID.MatchString(id) {
		return fmt.Errorf("%s id %q: want letters and digits, with single . _ - between, at most %d bytes", what, id, maxID)
	}
	return nil
}

var errClosed = errors.New("process sandbox: closed")
