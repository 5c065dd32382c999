// Package containerd is the sandbox on containerd and runc: a pod is a network namespace, a control group, service
// containers and a job container whose PID 1 is Slipway's supervisor, all in one shim.
//
// What an agent must know of a pod after a restart lies in Config.Dir/pods/ID, which only root can read:
//
//	pod.json          the pod's state file: network namespace, init process, containers
//	run/              the directory with the agent's socket, mounted into the job container
//	etc/              hosts, hostname and resolv.conf, mounted into every container
//	log/              output of the services and of the supervisor itself
//	steps/ID.json     a step was asked for; ID.exit is its exit record, written by the supervisor
//
// No environment of a job lies there: the supervisor gets it over its socket and keeps it in memory. A service's
// environment is in containerd's own record of the container, but for what refers to secrets (hideEnv).
package containerd

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/agent/sandbox/network"
)

// Config of a sandbox. Two sandboxes on one host differ in Namespace, Dir, CgroupParent and Network.
type Config struct {
	// Socket is containerd's.
	Socket string
	// Namespace in containerd; everything in it is this sandbox's. "" is "slipway".
	Namespace string
	// Dir keeps the sandbox's state. It must outlive the agent, and only root may enter.
	Dir string
	// CgroupParent is the absolute control group above the pods; "" is "/slipway".
	CgroupParent string
	// Snapshotter; "" is overlayfs.
	Snapshotter string
	// Registries by host and port; others are spoken to by https.
	Registries map[string]Registry
	// Network of the pods; its Dir and Nameservers are filled in if empty.
	Network network.Config
	Pulls   Pulls
	// WarmPods is how many pods are made ahead for each of the few kinds of jobs that came last; 0 is none.
	WarmPods int
	// WarmIdle is how long they are kept for a kind that no job asks for; 0 is 15 min.
	WarmIdle time.Duration
	// ResolvConf is mounted as /etc/resolv.conf; "" is the host's own, or systemd-resolved's upstream.
	ResolvConf string
	// CABundle is a PEM file of the host to trust in every container, e.g. of a proxy; "" is none.
	CABundle string
	// PassEnv entries, KEY=value, are set in every container below the image's own: the host's proxies.
	PassEnv []string
	// Runtimes by name, beside and over runc, crun, runsc and kata.
	Runtimes map[string]Runtime
	// UserIDs is where pods with a user namespace take their users from.
	UserIDs UserIDs
	// MountDir holds the mounts of pods with a user namespace. Every user must be able to pass what is above it. "" is one below
	// /run, the same at every start.
	MountDir string
	// KeepFree is how many bytes of the disk with the images, and of each of Volumes, pods must leave. Below it, the step of the
	// pod that wrote the most is ended. 0 is a twentieth of the file system, at most 4 GiB.
	KeepFree int64
	// StepsDir keeps what must be known of steps for as long as the host is up, and is best on a tmpfs; "" keeps it in Dir.
	StepsDir string
	// Volumes are directories in whose file systems lie what pods mount, for the checks whether user namespaces work and whether a pod fills them.
	Volumes []string
	Log     *slog.Logger
}

// Registry says how to speak to one registry.
type Registry struct {
	PlainHTTP          bool
	Username, Password string
}

const (
	defaultNamespace   = "slipway"
	defaultParent      = "/slipway"
	defaultSnapshotter = "overlayfs"
	systemdResolv      = "/run/systemd/resolve/resolv.conf"
)

func (c *Config) complete() error {
	if c.Socket == "" || c.Dir == "" {
		return errors.New("containerd sandbox: socket and dir are required")
	}
	if !filepath.IsAbs(c.Dir) {
		return fmt.Errorf("containerd sandbox: dir %q must be absolute", c.Dir)
	}
	c.Namespace = or(c.Namespace, defaultNamespace)
	c.CgroupParent = or(c.CgroupParent, defaultParent)
	c.Snapshotter = or(c.Snapshotter, defaultSnapshotter)
	if !filepath.IsAbs(c.CgroupParent) || c.CgroupParent == "/" {
		return fmt.Errorf("containerd sandbox: cgroup parent %q must be an absolute path below /", c.CgroupParent)
	}
	if c.MountDir == "" {
		sum := sha256.Sum256([]byte(c.Dir))
		c.MountDir = filepath.Join("/run", "slipway-mounts-"+hex.EncodeToString(sum[:6]))
	}
	if err := errors.Join(c.UserIDs.complete(), c.checkRuntimes()); err != nil {
		return err
	}
	c.Pulls.complete()
	if c.WarmIdle <= 0 {
		c.WarmIdle = defaultWarmIdle
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.ResolvConf == "" {
		c.ResolvConf = "/etc/resolv.conf"
		// systemd-resolved's stub listens on the host's loopback, which no pod reaches; this names what is behind it.
		if _, err := os.Stat(systemdResolv); err == nil {
			c.ResolvConf = systemdResolv
		}
	}
	if c.CABundle != "" {
		if _, err := os.Stat(c.CABundle); err != nil {
			return fmt.Errorf("containerd sandbox: CA bundle: %w", err)
		}
	}
	if c.Network.Dir == "" {
		c.Network.Dir = filepath.Join(c.Dir, "network")
	}
	if c.Network.Nameservers == nil {
		servers, err := nameservers(c.ResolvConf)
		if err != nil {
			return err
		}
		c.Network.Nameservers = servers
	}
	return nil
}

// nameservers reads resolv.conf(5).
func nameservers(file string) ([]string, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("containerd sandbox: nameservers: %w", err)
	}
	defer f.Close()
	var servers []string
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if fields := strings.Fields(lines.Text()); len(fields) > 1 && fields[0] == "nameserver" {
			servers = append(servers, fields[1])
		}
	}
	return servers, lines.Err()
}

// caEnv names the variables by which common tools are told of a bundle of certificate authorities.
var caEnv = []string{
	"SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "GIT_SSL_CAINFO", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "PIP_CERT",
	"AWS_CA_BUNDLE", "CARGO_HTTP_CAINFO",
}

// caTarget is where the bundle is mounted.
const caTarget = "/.slipway/ca.crt"

// hostEnv is what the host wants in every container.
func (c *Config) hostEnv() []string {
	env := append([]string(nil), c.PassEnv...)
	if c.CABundle != "" {
		for _, name := range caEnv {
			env = append(env, name+"="+caTarget)
		}
	}
	return env
}

// safeID is what a pod's or step's id may be: it names files, containers and control groups. containerd allows 76 bytes for a
// container, which is the pod's id with a suffix.
var safeID = regexp.MustCompile(`^[A-Za-z0-9]+([._-][A-Za-z0-9]+)*$`)

const maxID = 64

func checkID(what, id string) error {
	if len(id) > maxID || !safeID.MatchString(id) {
		return fmt.Errorf("%s id %q: want letters and digits, with single . _ - between, at most %d bytes", what, id, maxID)
	}
	return nil
}

func or(value, fallback string) string {
	if value == "" {
		return fallback
	}
	return value
}
