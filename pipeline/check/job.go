package check

import (
	"regexp"
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/pipeline/dockeropts"
	"github.com/slipway-ci/slipway/pipeline/matrix"
	"github.com/slipway-ci/slipway/pipeline/syntax"
)

func (c *checker) checkJob(j *syntax.Job) {
	c.job = newScope(j)
	defer func() { c.job = nil }()
	c.condition(j.If, jobIfRules)
	c.strategy(j.Strategy)
	c.text(j.Name, jobRules)
	for _, s := range slices.Concat(j.RunsOn, j.Pool, []*syntax.Scalar{j.RunsOnGroup}) {
		c.text(s, jobRules)
	}
	c.textMap(j.Env, jobEnvRules)
	c.envNames(j.Env)
	c.defaults(j.Defaults, jobDefaults)
	c.text(j.TimeoutMinutes, jobRules)
	c.positive(j.TimeoutMinutes, "timeout-minutes")
	c.text(j.ContinueOnError, jobRules)
	c.concurrency(j.Concurrency, jobRules)
	c.permissions(j.Permissions)
	c.container(j.Container, "a job's container", false)
	for _, s := range j.Services {
		c.service(s)
	}
	c.call(j)
	c.ours(j)
	c.steps(j.Steps)
	// All steps have run when outputs are evaluated.
	c.textMap(j.Outputs, outputRules)
}

func newScope(j *syntax.Job) *scope {
	s := &scope{}
	for _, n := range j.Needs {
		s.needs.add(n.Text)
	}
	if j.Strategy != nil && j.Strategy.Matrix != nil {
		s.hasMatrix = true
		s.axes = matrixKeys(j.Strategy.Matrix)
	}
	return s
}

// matrixKeys are all keys that a leg can have; nil where an expression decides.
func matrixKeys(m *syntax.Data) *names {
	if m.Scalar != nil {
		return nil
	}
	keys := &names{}
	for _, f := range m.Fields {
		switch f.Key.Text {
		case "exclude":
		case "include":
			if f.Value.Scalar != nil {
				return nil
			}
			for _, entry := range f.Value.List {
				if entry.Scalar != nil {
					return nil
				}
				for _, extra := range entry.Fields {
					keys.add(extra.Key.Text)
				}
			}
		default:
			keys.add(f.Key.Text)
		}
	}
	return keys
}

func (c *checker) strategy(s *syntax.Strategy) {
	if s == nil {
		return
	}
	c.text(s.FailFast, strategyRules)
	c.text(s.MaxParallel, strategyRules)
	if n, ok := s.MaxParallel.Number(); ok && (n < 1 || n != float64(int(n))) {
		c.errorf(s.MaxParallel.Pos, "bad-value", "", "`max-parallel` must be a whole number from 1, not %s", s.MaxParallel.Text)
	}
	if s.Matrix == nil {
		return
	}
	s.Matrix.Scalars(func(v *syntax.Scalar) { c.text(v, strategyRules) })
	v, static := s.Matrix.Value()
	if !static {
		c.dynamicMatrix(s.Matrix)
		return
	}
	if _, err := matrix.Expand(v); err != nil {
		at, hint := s.Matrix.Pos, ""
		message := err.Error()
		if e, ok := matrix.IsError(err); ok {
			at, hint = s.Matrix.At(e.Path).Pos, e.Hint
		}
		c.errorf(at, "bad-matrix", hint, "%s", message)
	}
}

// dynamicMatrix checks the parts of a matrix that no expression decides.
func (c *checker) dynamicMatrix(m *syntax.Data) {
	for _, f := range m.Fields {
		isExpression := f.Value.Scalar.HasExpression()
		if !f.Value.IsList && !isExpression {
			c.errorf(f.Value.Pos, "bad-matrix", "", "matrix.%s: it must be a list, or an expression that gives one", f.Key.Text)
		}
	}
	if m.IsList {
		c.errorf(m.Pos, "bad-matrix", "", "matrix: it must be an object of axes, not a list")
	}
}

func (c *checker) positive(s *syntax.Scalar, key string) {
	if n, ok := s.Number(); ok && (n <= 0 || n > 1e6) {
		c.errorf(s.Pos, "bad-value", "", "`%s` must be greater than 0 and at most 1000000, not %s", key, s.Text)
	}
}

func (c *checker) container(k *syntax.Container, what string, service bool) {
	if k == nil {
		return
	}
	c.text(k.Image, jobRules)
	c.textMap(k.Env, containerEnv)
	c.envNames(k.Env)
	for _, s := range slices.Concat(k.Ports, k.Volumes, []*syntax.Scalar{k.Options}) {
		c.text(s, jobRules)
	}
	c.credentials(k, what)
	for _, v := range k.Volumes {
		if v.HasExpression() {
			continue
		}
		if _, err := dockeropts.ParseVolume(v.Text); err != nil {
			c.errorf(v.Pos, "bad-volume", "", "`volumes` of %s: %v", what, err)
		}
	}
	if k.Options != nil && !k.Options.HasExpression() {
		o, err := dockeropts.Parse(k.Options.Text)
		if err == nil {
			err = o.Check(service)
		}
		if err != nil {
			c.errorf(k.Options.Pos, "bad-options", "", "`options` of %s: %v", what, err)
		}
	}
	for _, p := range k.Ports {
		if p.HasExpression() {
			continue
		}
		if _, err := dockeropts.ParsePort(p.Text); err != nil {
			c.errorf(p.Pos, "bad-port", "", "`ports` of %s: %v", what, err)
		}
	}
}

// credentials of a container are resolved when the run is submitted, and again on the agent: what they name must be known in both places.
func (c *checker) credentials(k *syntax.Container, what string) {
	if (k.Username == nil) != (k.Password == nil) {
		at := k.Username
		if at == nil {
			at = k.Password
		}
		c.errorf(at.Pos, "bad-credentials", "", "`credentials` of %s need both `username` and `password`", what)
	}
	for _, s := range []*syntax.Scalar{k.Username, k.Password} {
		c.text(s, credentialsRules)
	}
}

var hostName = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9_])?$`)

func (c *checker) service(s *syntax.Service) {
	if !hostName.MatchString(s.Name.Text) {
		c.errorf(s.Name.Pos, "bad-id", "", "`%s` can't be the name of a service: it must be usable as a host name", s.Name.Text)
	}
	c.container(s.Container, "the service `"+s.Name.Text+"`", true)
}

// envNames refuses names that no process can have in its environment.
func (c *checker) envNames(m *syntax.Map) {
	if m == nil {
		return
	}
	for _, p := range m.Pairs {
		if strings.ContainsAny(p.Key.Text, "=\x00") {
			c.errorf(p.Key.Pos, "bad-env-name", "", "`%s` can't be the name of an environment variable", p.Key.Text)
		}
	}
}
