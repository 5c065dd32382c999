package containerd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/errdefs"

	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/agent/sandbox/procid"
)

// defaultPath is what an image without ENV gets, as in Docker.
const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// logTail is how much of a service's log an error quotes.
const logTail = 2048

// startService starts the pod's i-th service and waits until it is healthy.
func (s *Sandbox) startService(ctx context.Context, m *making, i int) (serviceState, error) {
	svc, img := m.spec.Services[i], m.services[i]
	name := "svc" + strconv.Itoa(i)
	command := img.config.Cmd
	if len(svc.Command) > 0 {
		command = svc.Command
	}
	c := container{
		name: name, img: img, args: slices.Concat(img.config.Entrypoint, command), dir: img.config.WorkingDir,
		env: mergeEnv(s.cfg.hostEnv(), img.config.Env, svc.Env), user: or(svc.User, img.config.User),
		pids: m.spec.Resources.PIDs, seeds: svc.Mounts,
	}
	for _, mnt := range svc.Mounts {
		c.mounts = append(c.mounts, bind(mnt.Source, mnt.Target, mnt.ReadOnly))
	}
	if len(c.args) == 0 {
		return serviceState{}, &sandbox.ImageError{
			Ref: img.ref, Reason: sandbox.ImageInvalid, Err: fmt.Errorf("service %s: it has neither ENTRYPOINT nor CMD", svc.Name),
		}
	}
	if err := s.hideEnv(m, &c, svc.SecretEnv); err != nil {
		return serviceState{}, fmt.Errorf("service %s: %w", svc.Name, err)
	}
	task, err := s.newTask(ctx, m, c, name)
	if err != nil {
		return serviceState{}, cannotStart(ctx, svc.Name, err)
	}
	exited, err := task.Wait(ctx)
	if err != nil {
		return serviceState{}, fmt.Errorf("service %s: %w", svc.Name, err)
	}
	// One that has ended already is found out below.
	init, _ := procid.Of(int(task.Pid()))
	if err := task.Start(ctx); err != nil {
		return serviceState{}, cannotStart(ctx, svc.Name, err)
	}
	m.progress(svc.Name + " is started")
	health := svc.Health
	if health == nil {
		health = img.health
	}
	if err := s.await(ctx, m, svc.Name, task, exited, health); err != nil {
		return serviceState{}, s.unfit(ctx, err, m, name, task)
	}
	if health != nil {
		m.progress(svc.Name + " is healthy")
	}
	return serviceState{Name: svc.Name, Container: name, Init: init}, nil
}

// cannotStart is mostly a command that the image does not have, which runc tells in words only.
func cannotStart(ctx context.Context, service string, err error) error {
	if ctx.Err() != nil || errdefs.IsUnavailable(err) || errdefs.IsAlreadyExists(err) || shimGone(err) {
		return fmt.Errorf("service %s: %w", service, err) // not the service's doing: containerd was away or is
	}
	return &sandbox.ServiceError{Service: service, Reason: sandbox.ServiceCannotStart, Err: fmt.Errorf("could not be started: %w", err)}
}

// unfit adds what else is known of a service that did not become healthy.
func (s *Sandbox) unfit(ctx context.Context, err error, m *making, name string, task containerd.Task) error {
	var e *sandbox.ServiceError
	if errors.As(err, &e) {
		kills, oomErr := s.cgroups.OOMKills(s.group(m.name) + "/" + name)
		e.OOMKilled = oomErr == nil && kills > 0
		if e.Reason == sandbox.ServiceDied {
			s.lastWords(ctx, task)
		}
	}
	return fmt.Errorf("%w%s", err, quoteLog(m.dir.log(name)))
}

// wordsPatience bounds lastWords.
const wordsPatience = 5 * time.Second

// lastWords waits until the log of a service that died is complete: the shim tells of the end before it has copied all, but
// deletes a task only after.
func (s *Sandbox) lastWords(ctx context.Context, task containerd.Task) {
	ctx, cancel := context.WithTimeout(ctx, wordsPatience)
	defer cancel()
	if _, err := task.Delete(ctx); err != nil {
		s.cfg.Log.Warn("the log of a service that died may be incomplete: its task could not be deleted", "err", err)
	}
}

// await probes a service until it is healthy; one without a probe only must not have died at once.
func (s *Sandbox) await(ctx context.Context, m *making, name string, task containerd.Task, exited <-chan containerd.ExitStatus,
	h *sandbox.Health,
) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watching := make(chan struct{})
	go func() {
		defer close(watching)
		select {
		case st := <-exited:
			if ctx.Err() == nil {
				cancel(ended(name, st))
			}
		case <-ctx.Done():
		}
	}()
	defer func() { cancel(nil); <-watching }()
	err := s.untilHealthy(ctx, m, task, h)
	if cause := context.Cause(ctx); cause != nil {
		return cause // a probe fails in many ways when its container dies
	}
	if err != nil {
		return &sandbox.ServiceError{Service: name, Reason: sandbox.ServiceUnhealthy, Err: err}
	}
	return nil
}

// ended is what the end of a service's task means. With an error in it nobody knows how, or whether, the service ended: its shim is gone.
func ended(service string, st containerd.ExitStatus) error {
	code, _, err := st.Result()
	if err != nil {
		return fmt.Errorf("service %s: waiting for its end: %w", service, err)
	}
	return &sandbox.ServiceError{
		Service: service, Reason: sandbox.ServiceDied, Code: int(code), Err: fmt.Errorf("exited with code %d", code),
	}
}

func (s *Sandbox) untilHealthy(ctx context.Context, m *making, task containerd.Task, h *sandbox.Health) error {
	if h == nil {
		return nil
	}
	spec, err := task.Spec(ctx)
	if err != nil {
		return fmt.Errorf("looking up its process: %w", err)
	}
	return waitHealthy(ctx, *h, func(ctx context.Context) (bool, string, error) {
		return s.probe(ctx, m, task, spec.Process, h)
	})
}

// quoteLog returns the end of a log as lines for a person, or nothing.
func quoteLog(path string) string {
	if text := tail(path); text != "" {
		return "; the end of its log:\n" + text
	}
	return ""
}

// tail returns the end of a log, as text.
func tail(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > logTail {
		if _, err := f.Seek(-logTail, io.SeekEnd); err != nil {
			return ""
		}
	}
	data, err := io.ReadAll(io.LimitReader(f, logTail))
	text := strings.TrimSpace(strings.ToValidUTF8(string(data), "�"))
	if err != nil {
		return ""
	}
	return text
}

// mergeEnv lays later lists over earlier ones and gives a PATH where there is none.
func mergeEnv(lists ...[]string) []string {
	out := []string{defaultPath}
	at := map[string]int{"PATH": 0}
	for _, list := range lists {
		for _, entry := range list {
			key, _, _ := strings.Cut(entry, "=")
			if i, ok := at[key]; ok {
				out[i] = entry
				continue
			}
			at[key] = len(out)
			out = append(out, entry)
		}
	}
	return out
}
