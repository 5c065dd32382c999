package containerd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	containerd "github.com/containerd/containerd/v2/client"

	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/agent/sandbox/cgroup"
	"github.com/slipway-ci/slipway/agent/supervisor/proto"
)

// jobGroup is the control group of the container in which the steps run.
func (p *Pod) jobGroup() string { return p.sb.group(p.name) + "/" + p.box }

// enter makes a step's control group. A pod that an older agent made has no room for one.
func (p *Pod) enter(spec sandbox.StepSpec) (cgroup.Entry, error) {
	r := spec.Resources
	e, err := p.sb.cgroups.Enter(p.jobGroup(), spec.ID, cgroup.Limits{CPUMilli: r.CPUMilli, Memory: r.Memory, PIDs: r.PIDs})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if ids := p.state.IDs; err == nil && ids.enabled() {
		if err = p.sb.cgroups.Own(cgroup.StepGroup(p.jobGroup(), spec.ID), ids.First); err != nil {
			return nil, errors.Join(err, e.Close())
		}
	}
	return e, err
}

// exit turns a record into what the runner is told.
func (p *Pod) exit(ctx context.Context, r proto.Record) (sandbox.Exit, error) {
	if r.LeaseOver() {
		return sandbox.Exit{}, &sandbox.LostError{Pod: p.id, Reason: sandbox.LostLease, Image: p.image}
	}
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
	if e.Code != 0 {
		around, err := p.around(ctx, r.ID)
		if err != nil {
			return e, err
		}
		e.Disks, e.Services, e.Written = around.Disks, around.Services, around.Written
	}
	if e.Cause == sandbox.CauseProcesses {
		e.Message += p.crowd()
	}
	// Now, not when it ended: nothing of it may have run any more since. What is not done goes with the pod.
	p.sb.later(func() {
		if err := p.sb.cgroups.Leave(p.jobGroup(), r.ID); err != nil {
			p.sb.cfg.Log.Warn("a step's control group stays until its pod is removed", "pod", p.id, "step", r.ID, "err", err)
		}
	})
	return e, nil
}

// around finds out, once for each step, what was wrong with its pod when it failed.
func (p *Pod) around(ctx context.Context, id string) (surroundings, error) {
	p.marking.Lock()
	defer p.marking.Unlock()
	var req request
	if err := readJSON(p.dir.request(id), &req); err != nil {
		return surroundings{}, err
	}
	if req.Seen != nil {
		return *req.Seen, nil
	}
	seen := surroundings{Disks: p.disks(p.state, req.Output), Services: p.deadServices(ctx), Written: p.written.Swap(0)}
	if seen.Written == 0 && len(seen.Disks) > 0 {
		seen.Written = p.sb.guard.filledBy(ctx, p)
	}
	req.Seen = &seen
	if err := writeJSON(p.dir.request(id), req); err != nil {
		// On a full disk, which it tells of, it is looked at again next time.
		p.sb.cfg.Log.Warn("what was wrong around a step is not kept", "pod", p.id, "step", id, "err", err)
	}
	return seen, nil
}

// deadServices describes the services that have ended.
func (p *Pod) deadServices(ctx context.Context) []sandbox.ServiceEnd {
	var ends []sandbox.ServiceEnd
	for _, svc := range p.state.Services {
		if svc.Init.Alive() {
			continue
		}
		end := sandbox.ServiceEnd{Name: svc.Name, Code: p.sb.exitCode(ctx, containerID(p.name, svc.Container)), Log: tail(p.dir.log(svc.Container))}
		if kills, err := p.sb.cgroups.OOMKills(p.sb.group(p.name) + "/" + svc.Container); err == nil {
			end.OOMKilled = kills > 0
		}
		ends = append(ends, end)
	}
	return ends
}

// askPatience is how long containerd may take to say how a container ended; it may be away.
const askPatience = 5 * time.Second

// exitCode asks containerd how a container's task ended; -1 if it does not know.
func (s *Sandbox) exitCode(ctx context.Context, id string) int {
	ctx, cancel := context.WithTimeout(s.context(ctx), askPatience)
	defer cancel()
	c, err := s.client.LoadContainer(ctx, id)
	if err != nil {
		return -1
	}
	task, err := c.Task(ctx, nil)
	if err != nil {
		return -1
	}
	status, err := task.Status(ctx)
	if err != nil || status.Status != containerd.Stopped {
		return -1
	}
	return int(status.ExitStatus)
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
	e := &sandbox.LostError{Pod: p.id, Reason: sandbox.LostKilled, Image: p.image}
	if kills, err := p.sb.cgroups.OOMKills(p.jobGroup()); err == nil {
		e.OOMKills = kills
	}
	switch {
	case e.OOMKills > 0:
		e.Reason = sandbox.LostOutOfMemory
	case p.state.Shim.PID > 0 && !p.state.Shim.Alive():
		e.Reason = sandbox.LostShim
	}
	return e
}
