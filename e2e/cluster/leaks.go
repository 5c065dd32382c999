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

// stock are the pods that wait for a job to come: they are no job's, as long as they have a directory of their own, which a job that
// takes one renames. More than mostStock of them are a leak.
type stock []string

// mostStock: one for each of the few kinds of jobs that came last.
const mostStock = 8

func (l *Leaks) stock() (stock, error) {
	dirs, err := filepath.Glob(l.conf.DataDir + "/sandbox/pods/warm-*")
	if err != nil {
		return nil, err
	}
	if len(dirs) > mostStock {
		return nil, fmt.Errorf("%d pods are made ahead: %s", len(dirs), strings.Join(dirs, " "))
	}
	for i, d := range dirs {
		dirs[i] = filepath.Base(d)
	}
	return dirs, nil
}

// holds says whether a text names one of them.
func (k stock) holds(text string) bool {
	return slices.ContainsFunc(k, func(name string) bool { return strings.Contains(text, name) })
}

func (l *Leaks) pods(ctx context.Context) error {
	k, err := l.stock()
	if err != nil {
		return err
	}
	var found []string
	for _, look := range []func(context.Context) ([]string, error){l.inContainerd, l.shims, l.groups, l.onDisk} {
		more, err := look(ctx)
		if err != nil {
			return err
		}
		found = append(found, more...)
	}
	var errs []error
	for _, f := range found {
		if !k.holds(f) {
			errs = append(errs, errors.New(f))
		}
	}
	return errors.Join(errs...)
}

func (l *Leaks) inContainerd(ctx context.Context) (found []string, err error) {
	for _, kind := range []string{"containers", "tasks", "leases"} {
		list, err := l.ctr(ctx, kind, "ls", "-q")
		if err != nil {
			return nil, err
		}
		for name := range strings.FieldsSeq(list) {
			found = append(found, "left in containerd: "+kind+" "+name)
		}
	}
	snapshots, err := l.ctr(ctx, "snapshots", "ls")
	for line := range strings.Lines(snapshots) {
		// Committed ones are the images' layers, which stay.
		if strings.Contains(line, "Active") || strings.Contains(line, "View") {
			found = append(found, "left in containerd: snapshot "+strings.TrimSpace(line))
		}
	}
	return found, err
}

func (l *Leaks) groups(context.Context) (found []string, err error) {
	for _, root := range []string{"/sys/fs/cgroup/*", "/sys/fs/cgroup"} {
		groups, err := filepath.Glob(root + l.conf.Sandbox.Cgroup + "/*/")
		if err != nil {
			return nil, err
		}
		for _, g := range groups {
			found = append(found, "control group left: "+g)
		}
	}
	return found, nil
}

// onDisk is what jobs had on the agent's disk: workspaces, logs, files of pods.
func (l *Leaks) onDisk(context.Context) (found []string, err error) {
	for _, dir := range []string{"/attempts", "/sandbox/pods"} {
		left, err := filepath.Glob(l.conf.DataDir + dir + "/*")
		if err != nil {
			return nil, err
		}
		for _, path := range left {
			found = append(found, "left on disk: "+path+l.story(path))
		}
	}
	return found, nil
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
		if strings.Contains(line, filepath.Base(dir)) {
			b.WriteString("\n  " + strings.TrimSpace(line))
		}
	}
	return b.String()
}

// shims are processes that containerd may have forgotten, so it is not asked.
func (l *Leaks) shims(context.Context) (found []string, err error) {
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
			found = append(found, "shim left: "+strings.Join(args, " "))
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
