package containerd

import (
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/containerd/v2/contrib/seccomp"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/pkg/oci"
	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/agent/supervisor/proto"
)

// groupAnnotation makes containers share a shim (containerd, runtime v2).
const groupAnnotation = "io.containerd.runc.v2.group"

// capabilities are Docker's default set.
var capabilities = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID",
	"CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
}

const (
	// shmSize counts against the pod's memory limit; browsers and databases need more than the usual 64 MiB.
	shmSizeKiB = 1 << 20
	filesSoft  = 65536
	filesHard  = 524288
)

// container says how one container of a pod differs from the others.
type container struct {
	name string // job, svc0, …
	img  *image
	args []string
	env  []string
	dir  string
	user string
	// pids is the container's own limit of processes; 0 is none.
	pids int64
	// mounts come after the common ones.
	mounts []specs.Mount
	// seeds are those of its mounts whose volumes it may have to fill.
	seeds []sandbox.Mount
	// confined: its supervisor installs the seccomp filter.
	confined bool
}

// specOpts builds the OCI spec of a container: least privilege first, then what the pod has.
func (s *Sandbox) specOpts(p *making, c container) []oci.SpecOpts {
	opts := []oci.SpecOpts{
		oci.WithDefaultSpec(),
		oci.WithoutRunMount,
		oci.WithDevShmSize(shmSizeKiB),
		oci.WithDefaultUnixDevices,
		oci.WithCapabilities(capabilities),
		oci.WithNoNewPrivileges,
		oci.WithHostname(p.hostname()),
		oci.WithEnv(c.env),
		oci.WithProcessArgs(c.args...),
		oci.WithProcessCwd(or(c.dir, "/")),
		oci.WithCgroup(s.group(p.name) + "/" + c.name),
		oci.WithAnnotations(map[string]string{groupAnnotation: p.name}),
		oci.WithLinuxNamespace(specs.LinuxNamespace{Type: specs.NetworkNamespace, Path: p.ns.Path}),
		oci.WithLinuxNamespace(specs.LinuxNamespace{Type: specs.CgroupNamespace}),
		oci.WithMounts(append(s.commonMounts(p.dir), c.mounts...)),
		withProcessLimits(ownOOMScore()),
	}
	if p.runtime != nil {
		opts = append(opts, func(_ context.Context, _ oci.Client, _ *containers.Container, spec *oci.Spec) error {
			spec.Version = specVersion
			return nil
		})
	}
	if p.ids.enabled() {
		// Before a user is looked up in the root file system.
		opts = append(opts, func(_ context.Context, _ oci.Client, _ *containers.Container, spec *oci.Spec) error {
			s.userSpec(p, c, spec)
			return nil
		})
	}
	if c.user != "" {
		opts = append(opts, oci.WithUser(c.user))
		if !strings.Contains(c.user, ":") {
			opts = append(opts, oci.WithAdditionalGIDs(c.user))
		}
	}
	if c.pids > 0 {
		opts = append(opts, oci.WithPidsLimit(c.pids))
	}
	if c.confined {
		return opts
	}
	return append(opts, seccomp.WithDefaultProfile()) // last: it looks at the capabilities
}

// ownOOMScore is what a container starts with: not the shim's score, which protects it from the OOM killer, and nothing below
// the agent's, which some hosts don't permit. The supervisor gives its steps a higher one.
func ownOOMScore() int {
	data, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		return 0
	}
	score, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return 0
	}
	return max(score, 0)
}

func withProcessLimits(oom int) oci.SpecOpts {
	return func(_ context.Context, _ oci.Client, _ *containers.Container, s *oci.Spec) error {
		s.Process.OOMScoreAdj = &oom
		s.Process.Rlimits = []specs.POSIXRlimit{fileLimit()}
		return nil
	}
}

// fileLimit is what a container gets of open files, within what this host may give.
func fileLimit() specs.POSIXRlimit {
	l := specs.POSIXRlimit{Type: "RLIMIT_NOFILE", Hard: filesHard, Soft: filesSoft}
	var own unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &own); err == nil {
		l.Hard, l.Soft = min(l.Hard, own.Max), min(l.Soft, own.Max)
	}
	return l
}

func (s *Sandbox) commonMounts(dir podDir) []specs.Mount {
	mounts := []specs.Mount{
		// Read-only, so that Go and the JVM see their limits.
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"ro", "nosuid", "noexec", "nodev"}},
		bind(dir.etc("hosts"), "/etc/hosts", false),
		bind(dir.etc("hostname"), "/etc/hostname", false),
		bind(dir.etc("resolv.conf"), "/etc/resolv.conf", false),
	}
	if s.cfg.CABundle != "" {
		mounts = append(mounts, bind(s.cfg.CABundle, caTarget, true))
	}
	return mounts
}

// jobMounts are the supervisor, its socket's directory and what the job asked for.
func (s *Sandbox) jobMounts(p *making, run string) []specs.Mount {
	mounts := []specs.Mount{
		bind(s.supervisor(), proto.Binary, true),
		bind(run, proto.SocketDir, true),
	}
	for _, m := range p.spec.Mounts {
		mounts = append(mounts, bind(m.Source, m.Target, m.ReadOnly))
	}
	return mounts
}

func bind(source, target string, readOnly bool) specs.Mount {
	mode := "rw"
	if readOnly {
		mode = "ro"
	}
	return specs.Mount{Destination: target, Type: "bind", Source: source, Options: []string{"rbind", "rprivate", mode}}
}

// writeEtc makes the files that are mounted into /etc.
func (s *Sandbox) writeEtc(p *making) error {
	resolv, err := os.ReadFile(s.cfg.ResolvConf)
	if err != nil {
		return fmt.Errorf("nameservers for the pod: %w", err)
	}
	for name, content := range map[string]string{
		"hosts": hosts(p.hostname(), p.spec), "hostname": p.hostname() + "\n", "resolv.conf": string(resolv),
	} {
		if err := os.WriteFile(p.dir.etc(name), []byte(content), 0o644); err != nil {
			return fmt.Errorf("the pod's /etc: %w", err)
		}
	}
	return nil
}

// hosts is the pod's /etc/hosts: services share its loopback, so their names lead there.
func hosts(hostname string, spec sandbox.PodSpec) string {
	var b strings.Builder
	b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	fmt.Fprintf(&b, "127.0.0.1\t%s\n", hostname)
	for _, svc := range spec.Services {
		fmt.Fprintf(&b, "127.0.0.1\t%s\n", svc.Name)
	}
	names := make([]string, 0, len(spec.Hosts))
	for name := range spec.Hosts {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		fmt.Fprintf(&b, "%s\t%s\n", spec.Hosts[name], name)
	}
	return b.String()
}

// hostName is what a host may be called in /etc/hosts: nothing that could start another line.
func checkHost(name, address string) error {
	if name == "" || strings.ContainsAny(name, " \t\r\n#") {
		return fmt.Errorf("%q can't be a host's name", name)
	}
	if address != "" && net.ParseIP(address) == nil {
		return fmt.Errorf("host %s: %q is not an IP address", name, address)
	}
	return nil
}
