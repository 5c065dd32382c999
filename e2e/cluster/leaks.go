package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/internal/cli/agentconf"
)

// Leaks knows what a cluster's agent owns on the host, to see that nothing of it is left.
type Leaks struct {
	cluster *Cluster
	conf    agentconf.Config
	veths   []string
}

// Leaks returns the search for what the cluster leaves behind.
func (c *Cluster) Leaks() *Leaks { return &Leaks{cluster: c} }

// settle is how soon after the last job everything of it is gone: "within seconds".
const settle = 15 * time.Second

// OfJobs sees, while the cluster runs and no job does, that none left a container, task, shim, snapshot, lease, control group or
// file. It waits until settle for what is still being removed.
func (l *Leaks) OfJobs() error {
	var err error
	if l.conf, err = agentconf.Load(l.cluster.Dir + "/data/slipway/dev/agent.yaml"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), settle)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	var left error
	for {
		err := l.pods(ctx)
		if err == nil {
			break
		}
		if ctx.Err() == nil {
			left = err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s after the last job: %w", settle, left)
		case <-tick.C:
		}
	}
	// Afterwards there is no bridge to find them by.
	l.veths, err = slaves(l.conf.Sandbox.Bridge)
	return err
}

func (l *Leaks) pods(ctx context.Context) error {
	var errs []error
	for _, kind := range []string{"containers", "tasks", "leases"} {
		list, err := l.ctr(ctx, kind, "ls", "-q")
		if err != nil {
			return err
		}
		if list = strings.TrimSpace(list); list != "" {
			errs = append(errs, fmt.Errorf("left in containerd: %s %s", kind, strings.ReplaceAll(list, "\n", " ")))
		}
	}
	snapshots, err := l.ctr(ctx, "snapshots", "ls")
	if err != nil {
		return err
	}
	for line := range strings.Lines(snapshots) {
		// Committed ones are the images' layers, which stay.
		if strings.Contains(line, "Active") || strings.Contains(line, "View") {
			errs = append(errs, fmt.Errorf("left in containerd: snapshot %s", strings.TrimSpace(line)))
		}
	}
	shims, err := l.shims()
	if err != nil {
		return err
	}
	errs = append(errs, shims...)
	groups, err := filepath.Glob("/sys/fs/cgroup/*" + l.conf.Sandbox.Cgroup + "/*/")
	if err != nil {
		return err
	}
	unified, err := filepath.Glob("/sys/fs/cgroup" + l.conf.Sandbox.Cgroup + "/*/")
	for _, g := range append(groups, unified...) {
		errs = append(errs, fmt.Errorf("control group left: %s", g))
	}
	// What jobs had on the agent's disk: workspaces, logs, files of pods.
	for _, dir := range []string{"/attempts", "/sandbox/pods"} {
		left, err := filepath.Glob(l.conf.DataDir + dir + "/*")
		if err != nil {
			return err
		}
		for _, path := range left {
			errs = append(errs, fmt.Errorf("left on disk: %s%s", path, l.story(path)))
		}
	}
	return errors.Join(append(errs, err)...)
}

// story is what is in a directory that should not be there, and what the agent said of the attempt.
func (l *Leaks) story(dir string) string {
	var b strings.Builder
	_ = filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		fmt.Fprintf(&b, "\n  %s %v", strings.TrimPrefix(path, dir), err)
		return nil
	})
	log, err := os.ReadFile(l.cluster.Dir + "/state/slipway/agent.log")
	if err != nil {
		return b.String()
	}
	for line := range strings.Lines(string(log)) {
		if strings.Contains(line, filepath.Base(dir)) || strings.Contains(line, "agent starting") {
			b.WriteString("\n  " + strings.TrimSpace(line))
		}
	}
	return b.String()
}

// shims are processes that containerd may have forgotten, so it is not asked.
func (l *Leaks) shims() (found []error, err error) {
	cmdlines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return nil, err
	}
	for _, path := range cmdlines {
		cmdline, err := os.ReadFile(path)
		if err != nil {
			continue // It has ended.
		}
		if args := strings.Split(string(cmdline), "\x00"); strings.Contains(args[0], "containerd-shim") && slices.Contains(args, l.conf.Sandbox.Namespace) {
			found = append(found, fmt.Errorf("shim left: %s", strings.Join(args, " ")))
		}
	}
	return found, nil
}

func (l *Leaks) ctr(ctx context.Context, args ...string) (string, error) {
	s := l.conf.Sandbox
	out, err := exec.CommandContext(ctx, "ctr", append([]string{"-a", s.Socket, "-n", s.Namespace}, args...)...).Output()
	if err != nil {
		return "", fmt.Errorf("ctr %s: %w", strings.Join(args, " "), err)
	}
	return string(out), nil
}

// slaves are the network devices of a bridge.
func slaves(bridge string) ([]string, error) {
	names, err := filepath.Glob("/sys/class/net/" + bridge + "/brif/*")
	for i, n := range names {
		names[i] = filepath.Base(n)
	}
	return names, err
}

// OfAll sees that a cluster that is closed left nothing on the host: network devices, packet filter rules, control groups.
// Processes and mounts, which also pin network namespaces, are what cluster.Close looks for.
func (l *Leaks) OfAll() error {
	if l.conf.Sandbox.Bridge == "" {
		return errors.New("leaks were not looked for: the agent's configuration could not be read")
	}
	var errs []error
	for _, device := range append(l.veths, l.conf.Sandbox.Bridge) {
		if _, err := os.Stat("/sys/class/net/" + device); err == nil {
			errs = append(errs, fmt.Errorf("network device left: %s", device))
		}
	}
	for _, pattern := range []string{"/sys/fs/cgroup/*", "/sys/fs/cgroup"} {
		groups, err := filepath.Glob(pattern + l.conf.Sandbox.Cgroup)
		if err != nil {
			return err
		}
		for _, g := range groups {
			errs = append(errs, fmt.Errorf("control group left: %s", g))
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), settle)
	defer cancel()
	return errors.Join(append(errs, l.rules(ctx))...)
}

// rules sees that the packet filter knows nothing of the cluster.
func (l *Leaks) rules(ctx context.Context) error {
	var errs []error
	network, _, _ := strings.Cut(l.conf.Sandbox.Subnet, "/")
	for _, command := range [][]string{{"iptables-save"}, {"nft", "list", "ruleset"}} {
		out, err := exec.CommandContext(ctx, command[0], command[1:]...).Output()
		if errors.Is(err, exec.ErrNotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("%s: %w", command[0], err)
		}
		for line := range bytes.Lines(out) {
			if s := string(line); strings.Contains(s, l.conf.Sandbox.Bridge) || strings.Contains(s, network) {
				errs = append(errs, fmt.Errorf("packet filter rule left: %s", strings.TrimSpace(s)))
			}
		}
	}
	return errors.Join(errs...)
}
