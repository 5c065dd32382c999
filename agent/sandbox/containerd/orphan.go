package containerd

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/containerd/api/services/tasks/v1"
	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/containers"
	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/ttrpc"
	"google.golang.org/protobuf/types/known/anypb"
)

// adoptOrphans gives tasks of the pod that have no container one, so that they are found and removed like others.
// containerd leaves such a task if the agent was killed just after it had asked for it: the request goes on for a moment,
// and outlives the container that the next agent has deleted meanwhile.
func (s *Sandbox) adoptOrphans(ctx context.Context, id, name string) error {
	all, err := s.tasks(ctx)
	if err != nil {
		return err
	}
	for _, t := range all {
		if !strings.HasPrefix(t, containerID(name, "")) {
			continue
		}
		_, err := s.client.ContainerService().Create(ctx, containers.Container{
			ID: t, Labels: map[string]string{labelPod: id}, Runtime: containers.RuntimeInfo{Name: plugins.RuntimeRuncV2},
			Spec: &anypb.Any{TypeUrl: "types.containerd.io/opencontainers/runtime-spec/1/Spec", Value: []byte("{}")},
		})
		if err != nil && !errdefs.IsAlreadyExists(err) {
			return fmt.Errorf("task %s has no container: %w", t, err)
		}
	}
	return nil
}

// tasks are the ids of all tasks, also of those that have no container.
func (s *Sandbox) tasks(ctx context.Context) ([]string, error) {
	all, err := s.client.TaskService().List(ctx, &tasks.ListTasksRequest{})
	if err != nil {
		return nil, fmt.Errorf("finding tasks: %w", err)
	}
	ids := make([]string, 0, len(all.GetTasks()))
	for _, t := range all.GetTasks() {
		ids = append(ids, t.GetID())
	}
	return ids, nil
}

// orphanPatience is how long a task of a killed agent may take to be gone; orphanPause is between two looks. A containerd that was killed
// may list a task for ever that its shim never made, as long as that shim lives: after stuckPatience only removing the whole pod helps. What a
// dying task is in the way of fails with all kinds of errors, most of which can be the job's own mistake: oddPatience is for those.
const (
	orphanPatience = 20 * time.Second
	oddPatience    = 5 * time.Second
	stuckPatience  = 2 * time.Second
	orphanPause    = 50 * time.Millisecond
)

// createTask makes a container's task. If containerd is still busy with the one that a killed agent had asked for, which
// shows in many ways, that one is removed first, or waited for until containerd has noticed that nobody wants it.
func (s *Sandbox) createTask(ctx context.Context, pod string, c containerd.Container, log string) (containerd.Task, error) {
	for began := time.Now(); ; {
		task, err := c.NewTask(ctx, outputTo(log))
		s.mu.Lock()
		again := s.again[pod]
		s.mu.Unlock()
		if err == nil || time.Since(began) > taskPatience(err, again) {
			return task, err
		}
		if err := s.removeTask(ctx, c); err != nil {
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(orphanPause):
		}
	}
}

// taskPatience is how long to try again after such an error; again is whether there may be another task in the way.
func taskPatience(err error, again bool) time.Duration {
	inTheWay := errdefs.IsAlreadyExists(err) || errdefs.IsUnavailable(err)
	switch {
	case again && inTheWay:
		return orphanPatience
	case again:
		return oddPatience
	case errdefs.IsAlreadyExists(err):
		return stuckPatience
	default:
		return 0
	}
}

// removeTask kills and deletes a container's task, if it has one.
func (s *Sandbox) removeTask(ctx context.Context, c containerd.Container) error {
	task, err := c.Task(ctx, nil)
	if err == nil {
		_, err = task.Delete(ctx, awaitEnd)
	}
	if errdefs.IsNotFound(err) {
		// containerd may still know a shim whose container was never made, which then is in the way of another task.
		_, err = s.client.TaskService().Delete(ctx, &tasks.DeleteTaskRequest{ContainerID: c.ID()})
		err = errgrpc.ToNative(err)
	}
	if err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("deleting the task of %s: %w", c.ID(), err)
	}
	return nil
}

// endPatience is how long a shim may take to notice that all processes of its task were killed.
const endPatience = time.Second

// awaitEnd waits until containerd knows that a task, whose processes were killed before, has ended. To have it kill them, as it can, is the last resort:
// the shim starts the runtime for it in any case, which is a tenth of what a pod costs.
func awaitEnd(ctx context.Context, p containerd.Process) error {
	if p.Pid() == 0 {
		return nil // as in WithProcessKill
	}
	known, cancel := context.WithTimeout(ctx, endPatience)
	defer cancel()
	exited, err := p.Wait(known)
	if err != nil {
		return err
	}
	if end := <-exited; end.Error() == nil { // it comes with an error when known ends
		return nil
	}
	return containerd.WithProcessKill(ctx, p)
}

// shimGone says whether containerd lost a pod's shim while it asked it something. The text is all of the shim's error that containerd
// passes on; it is the same constant in all its versions.
func shimGone(err error) bool { return strings.Contains(err.Error(), ttrpc.ErrClosed.Error()) }
