package compile

import (
	"slices"

	"github.com/slipway-ci/slipway/pipeline/actions"
	"github.com/slipway-ci/slipway/pipeline/check"
	"github.com/slipway-ci/slipway/pipeline/syntax"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

func (b *builder) step(s *syntax.Step) *planv1.Step {
	out := &planv1.Step{
		Name:             value(s.Name),
		Env:              entries(s.Env),
		ContinueOnError:  value(s.ContinueOnError),
		TimeoutMinutes:   value(s.TimeoutMinutes),
		WorkingDirectory: value(s.WorkingDirectory),
		Position:         position(s.Pos),
		Image:            value(s.Image),
		Resources:        resources(s.Resources),
		Retry:            retry(s.Retry, check.StepRetryCauses),
		Reports:          reports(s.Reports),
	}
	if s.ID != nil {
		out.Id = s.ID.Text
	}
	out.Condition, out.ConditionPosition = condition(s.If, s.Pos)
	if s.Run != nil {
		out.Kind = &planv1.Step_Run{Run: &planv1.Run{Script: value(s.Run), Shell: value(s.Shell)}}
		return out
	}
	if s.Uses == nil {
		return out // only in a draft: what it does is not supported
	}
	if a := b.action(s); a != nil {
		out.Kind = &planv1.Step_Action{Action: a}
		return out
	}
	// check has looked the same action up before, so an error is there in a draft only.
	native, _, err := actions.Lookup(s.Uses.Text)
	if err != nil {
		out.Kind = &planv1.Step_Unsupported{Unsupported: &planv1.Unsupported{Uses: s.Uses.Text, With: entries(s.With)}}
		return out
	}
	out.Kind = &planv1.Step_Native{Native: &planv1.Native{Name: native.Name, Uses: s.Uses.Text, With: b.inputs(s, native)}}
	return out
}

func reports(r *syntax.Reports) *planv1.Reports {
	if r == nil {
		return nil
	}
	return &planv1.Reports{Junit: values(r.JUnit), Sarif: values(r.SARIF), Coverage: values(r.Coverage), Sbom: values(r.SBOM)}
}

// inputs keeps what the native step obeys, and lists the rest with the alias.
func (b *builder) inputs(s *syntax.Step, native *actions.Native) []*planv1.Entry {
	alias := b.aliases[s.Uses.Text]
	if alias == nil {
		alias = &planv1.Alias{Uses: s.Uses.Text, Native: native.Name}
		b.aliases[s.Uses.Text] = alias
		b.plan.Aliases = append(b.plan.Aliases, alias)
	}
	var kept []*planv1.Entry
	for _, e := range entries(s.With) {
		if native.Input(e.GetName(), "") == actions.Obeyed {
			kept = append(kept, e)
		} else if !slices.Contains(alias.IgnoredInputs, e.GetName()) {
			alias.IgnoredInputs = append(alias.IgnoredInputs, e.GetName())
		}
	}
	return kept
}
