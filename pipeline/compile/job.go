package compile

import (
	"time"

	"github.com/slipway-ci/slipway/pipeline/check"
	"github.com/slipway-ci/slipway/pipeline/expr"
	"github.com/slipway-ci/slipway/pipeline/matrix"
	"github.com/slipway-ci/slipway/pipeline/quantity"
	"github.com/slipway-ci/slipway/pipeline/syntax"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

type builder struct {
	plan    *planv1.Plan
	aliases map[string]*planv1.Alias
	uses    map[*syntax.Step]*use
}

func (b *builder) job(f *syntax.File, j *syntax.Job) *planv1.Job {
	out := &planv1.Job{
		Id:              j.ID.Text,
		Name:            value(j.Name),
		Strategy:        strategy(j.Strategy),
		RunsOn:          values(j.RunsOn),
		Pool:            values(j.Pool),
		Container:       container(j.Container),
		Env:             entries(j.Env),
		Outputs:         entries(j.Outputs),
		Defaults:        defaults(j.Defaults),
		TimeoutMinutes:  value(j.TimeoutMinutes),
		ContinueOnError: value(j.ContinueOnError),
		Resources:       resources(j.Resources),
		Egress:          "all",
		Concurrency:     concurrency(j.Concurrency),
		Position:        position(j.ID.Pos),
		Retry:           retry(j.Retry, check.RetryCauses),
		RunsOnGroup:     value(j.RunsOnGroup),
		Call:            call(f, j),
		Permissions:     permissions(j.Permissions),
	}
	out.Condition, out.ConditionPosition = condition(j.If, j.ID.Pos)
	if j.Egress != nil {
		out.Egress = j.Egress.Text
	}
	seen := map[string]bool{}
	for _, n := range j.Needs {
		if !seen[n.Text] {
			seen[n.Text] = true
			out.Needs = append(out.Needs, n.Text)
		}
	}
	for _, s := range j.Services {
		out.Services = append(out.Services, &planv1.Service{Name: s.Name.Text, Container: container(s.Container)})
	}
	for _, s := range j.Steps {
		out.Steps = append(out.Steps, b.step(s))
	}
	return out
}

func condition(s *syntax.Scalar, owner syntax.Pos) (string, *planv1.Position) {
	src, _ := check.Condition(s)
	if s != nil {
		owner = s.Pos
	}
	return src, position(owner)
}

func strategy(s *syntax.Strategy) *planv1.Strategy {
	if s == nil {
		return nil
	}
	out := &planv1.Strategy{FailFast: value(s.FailFast), MaxParallel: value(s.MaxParallel)}
	if s.Matrix == nil {
		return out
	}
	v, static := s.Matrix.Value()
	if !static {
		out.Matrix = &planv1.Value{
			Kind:     &planv1.Value_Expr{Expr: matrixExpression(s.Matrix)},
			Position: position(s.Matrix.Pos),
		}
		return out
	}
	// check has expanded the same matrix before, so it has no error.
	legs, err := matrix.Expand(v)
	if err != nil {
		return out
	}
	for _, leg := range legs {
		out.Legs = append(out.Legs, expr.ToJSON(leg.Values))
		out.LegLabels = append(out.LegLabels, leg.Label)
	}
	return out
}

func container(c *syntax.Container) *planv1.Container {
	if c == nil {
		return nil
	}
	return &planv1.Container{
		Image:    value(c.Image),
		Env:      entries(c.Env),
		Volumes:  values(c.Volumes),
		Ports:    values(c.Ports),
		Options:  value(c.Options),
		Username: value(c.Username),
		Password: value(c.Password),
	}
}

// resources: check has read the same amounts before, so they have no error.
func resources(r *syntax.Resources) *planv1.Resources {
	if r == nil {
		return nil
	}
	out := &planv1.Resources{}
	if r.CPU != nil {
		out.CpuMilli, _ = quantity.CPU(r.CPU.Text) //nolint:errcheck // see above
	}
	if r.Memory != nil {
		out.Memory, _ = quantity.Bytes(r.Memory.Text) //nolint:errcheck // see above
	}
	if n, ok := r.PIDs.Number(); ok {
		out.Pids = int64(n)
	}
	return out
}

func retry(r *syntax.Retry, causes []string) *planv1.Retry {
	if r == nil {
		return nil
	}
	out := &planv1.Retry{Attempts: 1}
	if n, ok := r.Attempts.Number(); ok {
		out.Attempts = uint32(n)
	}
	for _, on := range r.On {
		out.On = append(out.On, on.Text)
	}
	if len(out.On) == 0 {
		out.On = causes
	}
	if r.Backoff != nil {
		if d, err := time.ParseDuration(r.Backoff.Text); err == nil {
			out.BackoffMs = d.Milliseconds()
		}
	}
	return out
}
