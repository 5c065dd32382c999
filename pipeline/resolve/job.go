package resolve

import (
	"errors"
	"fmt"
	"math"

	"github.com/slipway-ci/slipway/pipeline/expr"
	"github.com/slipway-ci/slipway/pipeline/matrix"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// Strategy is what a job's `strategy` comes to.
type Strategy struct {
	// Legs has one leg with null Values for a job without a matrix.
	Legs []matrix.Leg
	// FailFast is true by default.
	FailFast bool
	// MaxParallel is 0 for no limit.
	MaxParallel int
}

// Plan resolves `strategy`; s may be nil. The contexts are those of strategy: github, needs, inputs, vars.
func Plan(s *planv1.Strategy, env *expr.Env) (Strategy, error) {
	legs, err := Legs(s, env)
	if err != nil {
		return Strategy{}, err
	}
	out := Strategy{Legs: legs}
	if out.FailFast, err = Bool(s.GetFailFast(), env, true); err != nil {
		return Strategy{}, fmt.Errorf("strategy.fail-fast: %w", err)
	}
	n, err := Number(s.GetMaxParallel(), env, 0)
	if err != nil {
		return Strategy{}, fmt.Errorf("strategy.max-parallel: %w", err)
	}
	if s.GetMaxParallel() != nil && (n < 1 || n != math.Trunc(n) || n > math.MaxInt32) {
		return Strategy{}, fail(s.GetMaxParallel().GetPosition(), fmt.Errorf("strategy.max-parallel: a whole number from 1 is needed, not %s", expr.FormatNumber(n)))
	}
	out.MaxParallel = int(n)
	return out, nil
}

// Legs returns the legs of a static or dynamic matrix, or the one leg of a job that has none.
func Legs(s *planv1.Strategy, env *expr.Env) ([]matrix.Leg, error) {
	if m := s.GetMatrix(); m != nil {
		v, err := Value(m, env)
		if err != nil {
			return nil, fmt.Errorf("strategy.matrix: %w", err)
		}
		legs, err := matrix.Expand(v)
		if err != nil {
			return nil, fail(m.GetPosition(), fmt.Errorf("strategy.%w", err))
		}
		return legs, nil
	}
	if len(s.GetLegs()) == 0 {
		return []matrix.Leg{{}}, nil
	}
	legs := make([]matrix.Leg, len(s.GetLegs()))
	for i, text := range s.GetLegs() {
		v, err := expr.FromJSON([]byte(text))
		if err != nil {
			return nil, fmt.Errorf("strategy.matrix: leg %d of the plan: %w", i, err)
		}
		legs[i].Values = v
		if i < len(s.GetLegLabels()) {
			legs[i].Label = s.GetLegLabels()[i]
		}
	}
	return legs, nil
}

// JobName is the display name of a job's leg. env holds the leg's matrix and strategy contexts.
func JobName(job *planv1.Job, leg matrix.Leg, env *expr.Env) (string, error) {
	name, label := job.GetId(), leg.Label
	if job.GetName() != nil {
		text, err := String(job.GetName(), env)
		if err != nil {
			return "", fmt.Errorf("name: %w", err)
		}
		if text != "" {
			name = text
		}
		if _, computed := job.GetName().GetKind().(*planv1.Value_Expr); computed && text != "" {
			label = ""
		}
	}
	return matrix.JobName(name, label), nil
}

// InstanceID is the id of a job's leg: the key, or key.LEG for a job with a matrix.
func InstanceID(key string, leg int, s *planv1.Strategy) string {
	if s.GetMatrix() == nil && len(s.GetLegs()) == 0 {
		return key
	}
	return fmt.Sprintf("%s.%d", key, leg)
}

// TimeoutMinutes is the limit of a job (default 360) or step (pass 0 as the default for none).
func TimeoutMinutes(v *planv1.Value, env *expr.Env, def float64) (float64, error) {
	n, err := Number(v, env, def)
	if err != nil {
		return 0, fmt.Errorf("timeout-minutes: %w", err)
	}
	if n < 0 || v != nil && n == 0 {
		return 0, fail(v.GetPosition(), errors.New("timeout-minutes: it must be greater than 0"))
	}
	return n, nil
}
