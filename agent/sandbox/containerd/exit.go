package containerd

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/agent/sandbox/cgroup"
	"github.com/slipway-ci/slipway/agent/supervisor/proto"
)

func (p *Pod) jobGroup() string { return p.sb.group(p.id) + "/" + jobName }

// enter makes a step's control group. A pod that an older agent made has no room for one.
func (p *Pod) enter(spec sandbox.StepSpec) (cgroup.Entry, error) {
	r := spec.Resources
	e, err := p.sb.cgroups.Enter(p.jobGroup(), spec.ID, cgroup.Limits{CPUMilli: r.CPUMilli, Memory: r.Memory, PIDs: r.PIDs})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return e, err
}

// exit turns a record into what the runner is told.
func (p *Pod) exit(r proto.Record) (sandbox.Exit, error) {
	e := sandbox.Exit{
		Code: r.Code, Signal: r.Signal, TimedOut: r.TimedOut, OOMKilled: r.OOMKills > 0, Message: r.Message, Duration: r.Duration,
		NotStarted: r.Message != "", Cause: sandbox.Cause(r.Cause), Stopped: r.Stopped && !r.TimedOut, Killed: r.Killed,
		ForksRefused: r.ForksRefused, Left: r.Left,
	}
	if !r.Grouped {
		var err error
		if e.OOMKilled, err = p.outOfMemory(r.ID); err != nil {
			return e, err
		}
	}
	if e.Cause == sandbox.CauseProcesses {
		e.Message += p.crowd()
	}
	// Now, not when it ended: nothing of it may have run any more since.
	if err := p.sb.cgroups.Leave(p.jobGroup(), r.ID); err != nil {
		p.sb.cfg.Log.Warn("a step's control group stays until its pod is removed", "pod", p.id, "step", r.ID, "err", err)
	}
	return e, nil
}

// crowd says who holds the processes that a new step would need.
func (p *Pod) crowd() string {
	left, err := p.sb.cgroups.Left(p.jobGroup())
	if err != nil || len(left) == 0 {
		return ": the job's limit of processes is reached (`resources: pids`)"
	}
	var names []string
	for id, n := range left {
		names = append(names, fmt.Sprintf("%s left %d", id, n))
	}
	slices.Sort(names)
	return fmt.Sprintf(": the job's limit of processes is reached (`resources: pids`), and earlier steps left some running: %s; "+
		"end them in the step that starts them, or raise the limit", strings.Join(names, ", "))
}

// jobKills counts the OOM kills of the job's container, for pods without a group for each step.
func (p *Pod) jobKills() (int64, error) { return p.sb.cgroups.OOMKills(p.jobGroup()) }

// outOfMemory decides once whether the kernel killed a process of the step, before later steps can change the count.
func (p *Pod) outOfMemory(id string) (bool, error) {
	p.marking.Lock()
	defer p.marking.Unlock()
	var req request
	if err := readJSON(p.dir.request(id), &req); err != nil {
		return false, err
	}
	if req.OOM != nil {
		return *req.OOM, nil
	}
	kills, err := p.jobKills()
	if err != nil {
		return false, err
	}
	oom := kills > req.OOMKills
	req.OOM = &oom
	return oom, writeJSON(p.dir.request(id), req)
}

// lost explains the pod's death as far as can be known.
func (p *Pod) lost() error {
	kills, err := p.sb.cgroups.OOMKills(p.sb.group(p.id))
	if err == nil && kills > 0 {
		return fmt.Errorf("pod %s: %w: the kernel killed %d of its processes for want of memory", p.id, sandbox.ErrPodLost, kills)
	}
	return fmt.Errorf("pod %s: %w: the job's container has ended", p.id, sandbox.ErrPodLost)
}
