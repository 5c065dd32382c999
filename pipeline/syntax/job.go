package syntax

import (
	"go.yaml.in/yaml/v3"
)

var (
	jobKeys = makeKeys("a job", `name needs if runs-on strategy container services env outputs defaults timeout-minutes
		continue-on-error concurrency permissions steps environment snapshot? cancel-timeout-minutes?
		uses with secrets pool+ resources+ egress+ retry+ cache+ rollout+`)
	runsOnKeys      = makeKeys("`runs-on`", "group labels")
	strategyKeys    = makeKeys("`strategy`", "matrix fail-fast max-parallel")
	containerKeys   = makeKeys("`container`", "image env ports volumes options credentials")
	serviceKeys     = makeKeys("a service", "image env ports volumes options credentials entrypoint? command?")
	credentialsKeys = makeKeys("`credentials`", "username password")
	stepKeys        = makeKeys("a step", `name id if run uses with env shell working-directory continue-on-error
		timeout-minutes background? wait? wait-all? cancel? parallel? image+ resources+ retry+ reports+`)
)

func (r *reader) jobs(n *yaml.Node) {
	r.pairs(n, "`jobs`", func(name *Scalar, _, value *yaml.Node) {
		j := &Job{ID: name}
		r.file.Jobs = append(r.file.Jobs, j)
		r.job(j, value)
	})
	if len(r.file.Jobs) == 0 && len(r.found) == 0 {
		r.report(pos(n), "empty-value", "", "the workflow has nothing to do: `jobs` is empty")
	}
}

func (r *reader) job(j *Job, n *yaml.Node) {
	hasRunsOn := false
	before := len(r.found)
	var keys []*Scalar
	r.mapping(n, jobKeys, func(key string, name, v *yaml.Node) {
		keys = append(keys, &Scalar{Pos: pos(name), Text: key})
		switch key {
		case "steps":
			j.HasSteps = true
			j.Steps = r.stepList(v, stepKeys, "the job `"+j.ID.Text+"`")
		case "runs-on":
			hasRunsOn = true
			r.runsOn(j, v)
		case "strategy":
			j.Strategy = r.strategy(v)
		case "services":
			r.services(j, v)
		case "needs", "pool", "egress", "concurrency", "permissions", "environment":
			r.jobPlacement(j, key, v)
		case "resources", "retry", "cache", "rollout":
			r.jobOurs(j, key, v)
		default:
			r.jobValue(j, key, v)
		}
	})
	r.onlyCalls(j, keys)
	excused := j.Uses != nil || j.Rollout != nil
	for _, d := range r.found[before:] {
		excused = excused || d.Code == "not-supported" || d.Code == "wrong-type"
	}
	if !hasRunsOn && !excused {
		r.report(j.ID.Pos, "missing-key", "add `runs-on: ubuntu-latest`, say", "the job `%s` does not say where it runs: `runs-on` is missing", j.ID.Text)
	}
	if !j.HasSteps && !excused {
		r.report(j.ID.Pos, "missing-key", "", "the job `%s` has nothing to do: `steps` is missing", j.ID.Text)
	}
}

func (r *reader) jobValue(j *Job, key string, v *yaml.Node) {
	what := "`" + key + "`"
	switch key {
	case "name":
		j.Name = r.scalar(v, what)
	case "if":
		j.If = r.scalar(v, what)
	case "uses":
		j.Uses = r.literal(v, what)
	case "with":
		j.With = r.textMap(v, what)
	case "secrets":
		r.secrets(j, v)
	case "container":
		j.Container = r.container(v, "`container`", containerKeys)
	case "env":
		j.Env = r.textMap(v, what)
	case "outputs":
		j.Outputs = r.textMap(v, what)
	case "defaults":
		j.Defaults = r.defaults(v)
	case "timeout-minutes":
		j.TimeoutMinutes = r.number(v, what)
	case "continue-on-error":
		j.ContinueOnError = r.boolean(v, what)
	}
}

func (r *reader) jobPlacement(j *Job, key string, v *yaml.Node) {
	what := "`" + key + "`"
	switch key {
	case "needs":
		j.Needs = r.texts(v, what)
	case "pool":
		j.Pool = r.texts(v, what)
	case "egress":
		j.Egress = r.literal(v, what)
	case "environment":
		j.Environment = r.environment(v)
	case "concurrency":
		j.Concurrency = r.concurrency(v)
	case "permissions":
		j.Permissions = r.permissions(v)
	}
}

func (r *reader) jobOurs(j *Job, key string, v *yaml.Node) {
	switch key {
	case "resources":
		j.Resources = r.resources(v)
	case "retry":
		j.Retry = r.retry(v)
	case "cache":
		j.Caches = r.caches(v)
	case "rollout":
		if resolve(v).Kind != yaml.MappingNode {
			r.report(pos(v), "wrong-type", "", "`rollout` must be a mapping of keys, and it is %s", shape(resolve(v)))
			return
		}
		j.Rollout = r.data(v, "`rollout`")
	}
}

func (r *reader) runsOn(j *Job, n *yaml.Node) {
	if resolve(n).Kind != yaml.MappingNode {
		j.RunsOn = r.texts(n, "`runs-on`")
		return
	}
	r.mapping(n, runsOnKeys, func(key string, _, v *yaml.Node) {
		switch key {
		case "labels":
			j.RunsOn = r.texts(v, "`labels`")
		case "group":
			j.RunsOnGroup = r.text(v, "`group`")
		}
	})
	if j.RunsOn == nil && j.RunsOnGroup == nil {
		r.report(pos(n), "missing-key", "", "`runs-on` needs `labels`, a `group`, or both")
	}
}

func (r *reader) strategy(n *yaml.Node) *Strategy {
	s := &Strategy{Pos: pos(n)}
	r.mapping(n, strategyKeys, func(key string, _, v *yaml.Node) {
		switch key {
		case "matrix":
			s.Matrix = r.data(v, "`matrix`")
		case "fail-fast":
			s.FailFast = r.boolean(v, "`fail-fast`")
		case "max-parallel":
			s.MaxParallel = r.number(v, "`max-parallel`")
		}
	})
	return s
}

func (r *reader) services(j *Job, n *yaml.Node) {
	r.pairs(n, "`services`", func(name *Scalar, _, value *yaml.Node) {
		if c := r.container(value, "a service", serviceKeys); c != nil {
			j.Services = append(j.Services, &Service{name, c})
		}
	})
}

func (r *reader) container(n *yaml.Node, what string, k keys) *Container {
	c := &Container{Pos: pos(n)}
	if resolve(n).Kind == yaml.ScalarNode {
		if c.Image = r.text(n, what); c.Image == nil {
			return nil
		}
		return c
	}
	r.mapping(n, k, func(key string, _, v *yaml.Node) {
		switch key {
		case "image":
			c.Image = r.text(v, "`image`")
		case "env":
			c.Env = r.textMap(v, "`env`")
		case "ports":
			c.Ports = r.list(v, "`ports`")
		case "volumes":
			c.Volumes = r.list(v, "`volumes`")
		case "options":
			c.Options = r.scalar(v, "`options`")
		case "credentials":
			r.mapping(v, credentialsKeys, func(key string, _, v *yaml.Node) {
				switch s := r.text(v, "`"+key+"`"); key {
				case "username":
					c.Username = s
				case "password":
					c.Password = s
				}
			})
		}
	})
	if c.Image == nil {
		r.report(c.Pos, "missing-key", "", "%s needs an `image`", what)
		return nil
	}
	return c
}

func (r *reader) stepList(n *yaml.Node, k keys, whose string) []*Step {
	v := resolve(n)
	if v.Kind != yaml.SequenceNode {
		r.report(pos(n), "wrong-type", "begin each step with `- `", "`steps` must be a list, and it is %s", shape(v))
		return nil
	}
	if len(v.Content) == 0 {
		r.report(pos(n), "empty-value", "", "%s has nothing to do: `steps` is empty", whose)
	}
	var list []*Step
	for _, item := range v.Content {
		s := &Step{Pos: pos(item)}
		list = append(list, s)
		r.step(s, item, k)
	}
	return list
}

func (r *reader) step(s *Step, n *yaml.Node, k keys) {
	before := len(r.found)
	var runOnly, usesOnly *Scalar
	r.mapping(n, k, func(key string, name, v *yaml.Node) {
		switch key {
		case "shell", "working-directory", "image":
			if runOnly == nil {
				runOnly = &Scalar{Pos: pos(name), Text: key}
			}
		case "with":
			usesOnly = &Scalar{Pos: pos(name), Text: key}
		}
		if key == "shell" && k.what == actionStepKeys.what {
			s.Shell = r.text(v, "`shell`") // in an action it may be an expression
			return
		}
		r.stepValue(s, key, v)
	})
	switch complaint := len(r.found) > before; {
	case s.Run != nil && s.Uses != nil:
		r.report(s.Uses.Pos, "run-and-uses", "make it two steps", "a step has either `run` or `uses`, and this one has both")
	case s.Run == nil && s.Uses == nil && !complaint:
		r.report(s.Pos, "no-run-or-uses", "", "a step needs `run` or `uses`, and this one has neither")
	case s.Uses != nil && runOnly != nil:
		r.report(runOnly.Pos, "key-needs-run", "", "`%s` is for steps with `run`, and this one has `uses`", runOnly.Text)
	case s.Run != nil && usesOnly != nil:
		r.report(usesOnly.Pos, "key-needs-uses", "give values to a script with `env`", "`with` is for steps with `uses`, and this one has `run`")
	}
}

func (r *reader) stepValue(s *Step, key string, v *yaml.Node) {
	what := "`" + key + "`"
	switch key {
	case "name":
		s.Name = r.scalar(v, what)
	case "id":
		s.ID = r.literal(v, what)
	case "if":
		s.If = r.scalar(v, what)
	case "run":
		s.Run = r.scalar(v, what)
	case "uses":
		s.Uses = r.literal(v, what)
	case "shell":
		s.Shell = r.literal(v, what)
	case "working-directory":
		s.WorkingDirectory = r.text(v, what)
	case "with":
		s.With = r.textMap(v, what)
	case "env":
		s.Env = r.textMap(v, what)
	case "continue-on-error":
		s.ContinueOnError = r.boolean(v, what)
	case "timeout-minutes":
		s.TimeoutMinutes = r.number(v, what)
	case "image":
		s.Image = r.text(v, what)
	case "resources":
		s.Resources = r.resources(v)
	case "retry":
		s.Retry = r.retry(v)
	case "reports":
		s.Reports = r.reports(v)
	}
}
