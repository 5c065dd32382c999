// Package podspec says what pod a job needs. Pure: an assignment and its evaluated contexts in, a sandbox.PodSpec out.
package podspec

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/agent/workspace"
	"github.com/slipway-ci/slipway/pipeline/dockeropts"
	"github.com/slipway-ci/slipway/pipeline/expr"
	"github.com/slipway-ci/slipway/pipeline/resolve"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// Build returns the pod of an attempt. env has the contexts of a job: github, needs, matrix, strategy, inputs, vars.
// Errors are the workflow author's.
func Build(a *fleetv1.Assignment, d workspace.Dirs, env *expr.Env) (sandbox.PodSpec, error) {
	job := a.GetJob()
	spec := sandbox.PodSpec{
		ID:     a.GetAttemptId(),
		Image:  a.GetImage(),
		Egress: job.GetEgress() != "none",
		Labels: map[string]string{"run": a.GetRunId(), "job": a.GetJobId()},
		Mounts: []sandbox.Mount{
			{Source: d.Workspace, Target: workspace.ContainerWorkspace},
			{Source: d.Home, Target: workspace.ContainerHome},
			{Source: d.Temp, Target: workspace.ContainerTemp},
			{Source: d.Commands, Target: workspace.ContainerCommands},
			{Source: d.Workflow, Target: workspace.ContainerWorkflow, ReadOnly: true},
		},
		Isolation: sandbox.Isolation(a.GetPolicy().GetIsolation()),
		Runtime:   a.GetPolicy().GetRuntime(),
		Resources: sandbox.Resources{
			CPUMilli: job.GetResources().GetCpuMilli(), Memory: job.GetResources().GetMemory(), PIDs: job.GetResources().GetPids(),
		},
	}
	if spec.Image == "" {
		return spec, fmt.Errorf("the assignment of job %s names no image", a.GetJobId())
	}
	v := &volumes{policy: a.GetPolicy()}
	if job.GetContainer() != nil {
		spec.Container = true
		if err := jobContainer(&spec, job.GetContainer(), v, env); err != nil {
			return spec, fmt.Errorf("container: %w", err)
		}
	}
	for _, s := range job.GetServices() {
		service, err := buildService(s, a.GetImages(), v, env)
		if err != nil {
			return spec, fmt.Errorf("services.%s: %w", s.GetName(), err)
		}
		if service != nil {
			spec.Services = append(spec.Services, *service)
		}
	}
	for i, step := range job.GetSteps() {
		image, err := StepImage(a, step, env)
		if err != nil {
			return spec, fmt.Errorf("step %d: %w", i+1, err)
		}
		if image != "" && !slices.Contains(spec.StepImages, image) {
			spec.StepImages = append(spec.StepImages, image)
		}
	}
	return spec, nil
}

// StepImage returns the image that a step wants to run in, by digest; "" is the job's. env is as for Build.
func StepImage(a *fleetv1.Assignment, step *planv1.Step, env *expr.Env) (string, error) {
	name, err := resolve.String(step.GetImage(), env)
	if err != nil {
		return "", fmt.Errorf("image: %w", err)
	}
	if name == "" {
		return "", nil
	}
	digest, ok := a.GetImages()[name]
	if !ok {
		return "", fmt.Errorf("image: %s was not resolved when the run was submitted", name)
	}
	return digest, nil
}

func jobContainer(spec *sandbox.PodSpec, c *planv1.Container, v *volumes, env *expr.Env) error {
	o, err := common(c, env)
	if err != nil {
		return err
	}
	mounts, err := v.mounts(c, env)
	if err != nil {
		return err
	}
	spec.Mounts = append(spec.Mounts, mounts...)
	plain, secret, err := environment(c, o, env)
	if err != nil {
		return err
	}
	// Steps get it from their supervisor, which has it from the agent: it is in no specification.
	spec.Env = append(plain, secret...)
	if spec.Auth, err = credentials(c, env); err != nil {
		return err
	}
	spec.User = o.User
	limit(&spec.Resources.CPUMilli, o.CPUMilli)
	limit(&spec.Resources.Memory, o.Memory)
	limit(&spec.Resources.PIDs, o.PIDs)
	return unsupported(map[string]bool{
		"--hostname": o.Hostname != "", "--entrypoint": o.Entrypoint != "", "--workdir": o.WorkDir != "", "--network-alias": len(o.Aliases) > 0,
	})
}

func limit(to *int64, v int64) {
	if v > 0 {
		*to = v
	}
}

// common evaluates what job containers and services share, and refuses what neither can do.
func common(c *planv1.Container, env *expr.Env) (dockeropts.Options, error) {
	text, err := resolve.String(c.GetOptions(), env)
	if err != nil {
		return dockeropts.Options{}, fmt.Errorf("options: %w", err)
	}
	o, err := dockeropts.Parse(text)
	if err != nil {
		return dockeropts.Options{}, fmt.Errorf("options: %w", err)
	}
	return o, nil
}

// environment evaluates `env`; secret are those of its entries that refer to secrets.
func environment(c *planv1.Container, o dockeropts.Options, env *expr.Env) (plain, secret []string, err error) {
	pairs, err := resolve.Entries(c.GetEnv(), env)
	if err != nil {
		return nil, nil, fmt.Errorf("env: %w", err)
	}
	for i, p := range pairs {
		if names, all := resolve.SecretNames(c.GetEnv()[i]); all || len(names) > 0 {
			secret = append(secret, p.Name+"="+p.Value)
		} else {
			plain = append(plain, p.Name+"="+p.Value)
		}
	}
	return append(plain, o.Env...), secret, nil
}

// credentials are what the image's registry is shown; nil if there are none, or if the secrets that they name are not set.
func credentials(c *planv1.Container, env *expr.Env) (*sandbox.RegistryAuth, error) {
	auth := &sandbox.RegistryAuth{}
	for _, v := range []struct {
		from *planv1.Value
		to   *string
	}{{c.GetUsername(), &auth.Username}, {c.GetPassword(), &auth.Password}} {
		var err error
		if *v.to, err = resolve.String(v.from, env); err != nil {
			return nil, fmt.Errorf("credentials: %w", err)
		}
	}
	if *auth == (sandbox.RegistryAuth{}) {
		return nil, nil //nolint:nilnil // none
	}
	return auth, nil
}

func unsupported(used map[string]bool) error {
	for _, name := range []string{"--hostname", "--entrypoint", "--workdir", "--network-alias", "--cpus", "--memory", "--pids-limit", "--no-healthcheck"} {
		if used[name] {
			return fmt.Errorf("options: %s is not supported here", name)
		}
	}
	return nil
}

// buildService returns nil for a service whose image is empty: GitHub skips it.
func buildService(s *planv1.Service, images map[string]string, v *volumes, env *expr.Env) (*sandbox.Service, error) {
	c := s.GetContainer()
	name, err := resolve.String(c.GetImage(), env)
	if err != nil {
		return nil, fmt.Errorf("image: %w", err)
	}
	if name == "" {
		return nil, nil //nolint:nilnil // no image, no service
	}
	digest, ok := images[name]
	if !ok {
		return nil, fmt.Errorf("image: %s was not resolved when the run was submitted", name)
	}
	o, err := common(c, env)
	if err != nil {
		return nil, err
	}
	err = unsupported(map[string]bool{
		"--hostname": o.Hostname != "", "--entrypoint": o.Entrypoint != "", "--workdir": o.WorkDir != "", "--network-alias": len(o.Aliases) > 0,
		"--cpus": o.CPUMilli > 0, "--memory": o.Memory > 0, "--pids-limit": o.PIDs > 0, "--no-healthcheck": o.NoHealth,
	})
	if err != nil {
		return nil, err
	}
	out := &sandbox.Service{Name: s.GetName(), Image: digest, User: o.User, Health: health(o)}
	if out.Env, out.SecretEnv, err = environment(c, o, env); err != nil {
		return nil, err
	}
	if out.Auth, err = credentials(c, env); err != nil {
		return nil, err
	}
	if out.Mounts, err = v.mounts(c, env); err != nil {
		return nil, err
	}
	ports, err := resolve.Strings(c.GetPorts(), env)
	if err != nil {
		return nil, fmt.Errorf("ports: %w", err)
	}
	for _, text := range ports {
		p, err := dockeropts.ParsePort(text)
		if err != nil {
			return nil, fmt.Errorf("ports: %w", err)
		}
		if p.UDP {
			return nil, fmt.Errorf("ports: %s: UDP is not supported", text)
		}
		out.Ports = append(out.Ports, sandbox.Port{Host: p.Host, Container: p.Container})
	}
	return out, nil
}

// health returns nil when the options say nothing: then the image's own HEALTHCHECK applies.
func health(o dockeropts.Options) *sandbox.Health {
	h := o.Health
	if h == (dockeropts.Health{}) {
		return nil
	}
	out := &sandbox.Health{Interval: h.Interval, Timeout: h.Timeout, StartPeriod: h.StartPeriod, Retries: h.Retries}
	if h.Command != "" {
		out.Command = []string{h.Command}
	}
	return out
}

// Context is `job.services` and `job.container`, as steps see them.
func Context(spec sandbox.PodSpec) expr.Value {
	services := expr.NewObject()
	for _, s := range spec.Services {
		ports := expr.NewObject()
		for _, p := range s.Ports {
			host := p.Host
			if host == 0 {
				host = p.Container
			}
			ports.Set(strconv.Itoa(p.Container), expr.String(strconv.Itoa(host)))
		}
		services.Set(s.Name, expr.NewObject(expr.Pair{Key: "id", Value: expr.String(spec.ID + "-" + s.Name)}, expr.Pair{Key: "ports", Value: ports.Value()}).Value())
	}
	return services.Value()
}

// Describe says for a person what a pod is made of.
func Describe(spec sandbox.PodSpec) []string {
	lines := []string{"Image: " + spec.Image}
	for _, s := range spec.Services {
		line := fmt.Sprintf("Service %s: %s", s.Name, s.Image)
		var ports []string
		for _, p := range s.Ports {
			ports = append(ports, strconv.Itoa(p.Container))
		}
		if len(ports) > 0 {
			line += ", port " + strings.Join(ports, ", ")
		}
		lines = append(lines, line)
	}
	for _, image := range spec.StepImages {
		lines = append(lines, "Image of single steps: "+image)
	}
	if !spec.Egress {
		lines = append(lines, "Egress: none")
	}
	if spec.Isolation != "" && spec.Isolation != sandbox.IsolationDefault {
		lines = append(lines, "Isolation: "+string(spec.Isolation))
	}
	if spec.Runtime != "" {
		lines = append(lines, "Runtime: "+spec.Runtime)
	}
	return lines
}
