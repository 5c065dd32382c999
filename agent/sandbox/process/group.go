package process

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/agent/sandbox/cgroup"
)

const (
	// rootParent is where root's pods are, beside those of the containerd sandbox.
	rootParent = "/slipway"
	// delegated is the name of the group in which the service manager starts an agent whose unit has
	// `Delegate=yes` and `DelegateSubgroup=agent`: the groups beside it are the agent's to make (systemd.resource-control(5)).
	delegated = "agent"
	// ownProcesses is what the supervisor's threads may use beyond the job's limit.
	ownProcesses = 48
)

// parentGroup chooses the control group above the pods: root's own, or a neighbour of the group that was delegated to the
// agent. "" is none. own is /proc/self/cgroup (cgroups(7)).
func parentGroup(uid int, own string) string {
	if uid == 0 {
		return rootParent
	}
	for line := range strings.Lines(own) {
		group, ok := strings.CutPrefix(strings.TrimSpace(line), "0::")
		if ok && path.Base(group) == delegated {
			return path.Join(path.Dir(group), "pods")
		}
	}
	return ""
}

// openGroups finds out whether this agent may make control groups. Where it may not, and the configuration does not insist,
// pods have none.
func (s *Sandbox) openGroups(ctx context.Context) error {
	if s.cfg.CgroupParent == NoGroups {
		s.why = "the agent's configuration wants none (`sandbox.cgroup: none`)"
		return nil
	}
	insist := s.cfg.CgroupParent != ""
	if !insist {
		own, err := os.ReadFile("/proc/self/cgroup")
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("process sandbox: %w", err)
		}
		s.cfg.CgroupParent = parentGroup(os.Geteuid(), string(own))
	}
	if s.cfg.CgroupParent == "" {
		s.why = "the agent is not root, and no control group is delegated to it"
		return nil
	}
	host, err := cgroup.Detect()
	if err == nil {
		err = try(ctx, host, path.Join(s.cfg.CgroupParent, fmt.Sprintf("try-%d", os.Getpid())))
	}
	switch {
	case err == nil:
		s.groups = host
	case insist:
		return fmt.Errorf("process sandbox: no control group below %s (`sandbox.cgroup`): %w", s.cfg.CgroupParent, err)
	default:
		s.why = err.Error()
		s.cfg.Log.Warn("pods have no control groups: limits are not enforced, and their processes are found by other signs", "err", err)
	}
	return nil
}

// try makes a group and removes it.
func try(ctx context.Context, host *cgroup.Host, group string) error {
	if err := host.Create(group, cgroup.Limits{}); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	return host.Remove(ctx, group)
}

// groupOf is the control group of a new pod; "" if it gets none.
func (s *Sandbox) groupOf(id string) string {
	if s.groups == nil {
		return ""
	}
	return path.Join(s.cfg.CgroupParent, id)
}

// makeGroup makes a pod's group before anything runs in it.
func (s *Sandbox) makeGroup(group string, r sandbox.Resources) error {
	if group == "" {
		return nil
	}
	l := cgroup.Limits{CPUMilli: r.CPUMilli, Memory: r.Memory}
	if r.PIDs > 0 {
		l.PIDs = r.PIDs + ownProcesses
	}
	return s.groups.Create(group, l)
}

// fillGroup puts the supervisor, which has no child yet, into its group and makes room for those of the steps.
func (s *Sandbox) fillGroup(group string, supervisor int, r sandbox.Resources) error {
	if group == "" {
		return nil
	}
	if err := s.groups.Join(group, supervisor); err != nil {
		return err
	}
	return s.groups.Divide(group, supervisor, cgroup.Limits{PIDs: r.PIDs})
}

// removeGroup removes an empty group. A pod of an agent that could make groups, met by one that can't, keeps it.
func (s *Sandbox) removeGroup(ctx context.Context, group string) error {
	if group == "" || s.groups == nil {
		return nil
	}
	return s.groups.Remove(ctx, group)
}

// enterGroup makes a step's group.
func (s *Sandbox) enterGroup(group string, spec sandbox.StepSpec) (cgroup.Entry, error) {
	if group == "" || s.groups == nil {
		return nil, nil
	}
	r := spec.Resources
	return s.groups.Enter(group, spec.ID, cgroup.Limits{CPUMilli: r.CPUMilli, Memory: r.Memory, PIDs: r.PIDs})
}
