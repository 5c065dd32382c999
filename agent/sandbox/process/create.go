package process

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/agent/sandbox/procid"
	"github.com/slipway-ci/slipway/agent/supervisor/proto"
)

const (
	// readyPatience is for the supervisor to connect after its start.
	readyPatience = 30 * time.Second
	// cleanPatience is for ending what is left of a pod that was lost or could not be completed.
	cleanPatience = 30 * time.Second
)

// refuse says what of a pod needs containers. Nothing was started yet.
func refuse(spec sandbox.PodSpec) error {
	var names []string
	for _, svc := range spec.Services {
		names = append(names, svc.Name)
	}
	var what string
	switch {
	case spec.Container:
		what = "`container:` needs one"
	case len(names) > 0:
		what = fmt.Sprintf("`services:` need them (%s)", strings.Join(names, ", "))
	case len(spec.StepImages) > 0:
		what = fmt.Sprintf("`image:` of a step needs one (%s)", strings.Join(spec.StepImages, ", "))
	case slices.ContainsFunc(spec.Mounts, func(m sandbox.Mount) bool { return m.Volume != "" }):
		what = "`volumes:` need them"
	case !spec.Egress:
		what = "`egress: none` can't be enforced without them"
	case len(spec.Hosts) > 0:
		what = "further host names need them"
	case spec.Isolation != "" && spec.Isolation != sandbox.IsolationDefault:
		what = fmt.Sprintf("isolation %s needs them", spec.Isolation)
	case spec.Runtime != "":
		what = "runtime " + spec.Runtime + " is for them"
	case spec.User != "":
		what = "steps can't run as user " + spec.User
	default:
		return nil
	}
	return fmt.Errorf("%w: this agent runs jobs as processes of its host, without containers (`sandbox.kind: process`), and %s; "+
		"let the job run in a pool with containers (`runs-on:`)", sandbox.ErrUnsupported, what)
}

// announce says in the job's log what the pod is.
func (s *Sandbox) announce(spec sandbox.PodSpec, progress func(string)) {
	host, err := os.Hostname()
	if err != nil {
		host = "this host"
	}
	progress(fmt.Sprintf("No container: the steps are processes of %s, as user %d, and nothing isolates them; image %s is ignored",
		host, os.Geteuid(), spec.Image))
	if s.groups == nil && spec.Resources != (sandbox.Resources{}) {
		progress("Warning: the job's resource limits are not enforced: no control group can be made here: " + s.why)
	}
}

// Create implements sandbox.Sandbox.
func (s *Sandbox) Create(ctx context.Context, spec sandbox.PodSpec, progress func(string)) (sandbox.Pod, error) {
	if err := checkID("pod", spec.ID); err != nil {
		return nil, fmt.Errorf("creating pod: %w", err)
	}
	if err := refuse(spec); err != nil {
		return nil, fmt.Errorf("creating pod %s: %w", spec.ID, err)
	}
	if progress == nil {
		progress = func(string) {}
	}
	defer s.lockPod(spec.ID)()
	if err := s.dir(spec.ID).make(); err != nil {
		if errors.Is(err, fs.ErrExist) {
			return nil, fmt.Errorf("creating pod %s: there is one already", spec.ID)
		}
		return nil, fmt.Errorf("creating pod %s: %w", spec.ID, err)
	}
	p, err := s.build(ctx, spec, progress)
	if err == nil {
		return p, nil
	}
	clean, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanPatience)
	defer cancel()
	return nil, errors.Join(fmt.Errorf("creating pod %s: %w", spec.ID, err), s.remove(clean, spec.ID))
}

// build makes everything; its caller cleans up after an error.
func (s *Sandbox) build(ctx context.Context, spec sandbox.PodSpec, progress func(string)) (*Pod, error) {
	s.announce(spec, progress)
	dir := s.dir(spec.ID)
	st := podState{ID: spec.ID, Created: time.Now().UTC(), Group: s.groupOf(spec.ID)}
	if err := dir.save(st); err != nil {
		return nil, err
	}
	if err := s.makeGroup(st.Group, spec.Resources); err != nil {
		return nil, err
	}
	p, err := s.newPod(spec.ID, st.Group)
	if err != nil {
		return nil, err
	}
	if st.Init, err = s.begin(ctx, p, spec); err == nil {
		err = dir.save(st)
	}
	if err == nil {
		err = s.keep(p)
	}
	if err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

// begin starts the pod's supervisor and waits until it takes steps.
func (s *Sandbox) begin(ctx context.Context, p *Pod, spec sandbox.PodSpec) (procid.ID, error) {
	if ctx.Err() != nil {
		return procid.ID{}, context.Cause(ctx)
	}
	pid, err := s.spawn(p.dir)
	if err != nil {
		return procid.ID{}, err
	}
	init, err := procid.Of(pid)
	if err != nil {
		return procid.ID{}, fmt.Errorf("the supervisor: %w%s", err, quoteLog(p.dir.log()))
	}
	if err := s.fillGroup(p.group, pid, spec.Resources); err != nil {
		return procid.ID{}, err
	}
	env := append(s.cfg.hostEnv(), spec.Env...)
	if err := p.bind(init, &proto.Base{Env: append(env, p.dir.mark()), Dir: "/"}); err != nil {
		return procid.ID{}, err
	}
	return init, p.waitReady(ctx)
}

// spawn starts the supervisor in a session of its own, so that no terminal's and no group's signal for the agent reaches it.
// Its environment is the mark alone.
func (s *Sandbox) spawn(dir podDir) (pid int, err error) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		return 0, fmt.Errorf("starting the supervisor: %w", err)
	}
	defer null.Close()
	log, err := os.OpenFile(dir.log(), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return 0, fmt.Errorf("starting the supervisor: %w", err)
	}
	defer log.Close()
	child, err := os.StartProcess(s.supervisor(), []string{s.supervisor(), dir.run()}, &os.ProcAttr{
		Dir: "/", Env: []string{dir.mark()}, Files: []*os.File{null, log, log}, Sys: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return 0, fmt.Errorf("starting the supervisor (does the file system of the data directory allow execution?): %w", err)
	}
	pid = child.Pid
	return pid, child.Release()
}

// quoteLog is the end of a log, for an error.
func quoteLog(path string) string {
	data, err := os.ReadFile(path)
	text := strings.TrimSpace(string(data[max(0, len(data)-2048):]))
	if err != nil || text == "" {
		return ""
	}
	return "; the end of its log:\n" + text
}
