// Package compile turns a workflow file into a plan. The CLI compiles offline, and the coordinator compiles again with
// the same code; its verdict counts.
package compile

import (
	"github.com/slipway-ci/slipway/pipeline/check"
	"github.com/slipway-ci/slipway/pipeline/diag"
	"github.com/slipway-ci/slipway/pipeline/expr"
	"github.com/slipway-ci/slipway/pipeline/syntax"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// Schema is the version of the plan that this compiler writes.
const Schema = 1

// Options change what is accepted. The zero value is the default.
type Options struct {
	Limits syntax.Limits
	// Read returns a file of the same source tree by its path inside the repository, for workflows that others call and for actions; fs.ErrNotExist if
	// there is none. nil: there is no tree, and calls and actions of the repository are errors.
	Read func(path string) ([]byte, error)
}

// Compile reads, checks and compiles a workflow file. path decides the dialect: in a .github folder Slipway's own keys
// are errors. The plan is nil if the list has errors; the list holds all findings, sorted by place.
func Compile(path string, src []byte, opt Options) (*planv1.Plan, diag.List) {
	return compile(path, src, opt, diag.List.HasErrors)
}

// Draft is Compile for a plan that is only shown. What Slipway can't run yet is in it too: a step of that kind is Unsupported, a key is left out,
// and the list says each by name. The plan is nil if the file itself is wrong.
func Draft(path string, src []byte, opt Options) (*planv1.Plan, diag.List) {
	return compile(path, src, opt, diag.List.Invalid)
}

func compile(path string, src []byte, opt Options, refuse func(diag.List) bool) (*planv1.Plan, diag.List) {
	f, parsed := syntax.Parse(path, src, opt.Limits)
	found := parsed
	found = append(found, check.Check(f)...)
	l := newLinker(opt)
	l.link(f, []string{f.Path})
	found = lintAll(f, text{src, parsed}, l, append(found, l.found...)).Sort()
	if refuse(found) {
		return nil, found
	}
	return plan(f, l), found
}

func plan(f *syntax.File, l *linker) *planv1.Plan {
	p := &planv1.Plan{
		Schema:      Schema,
		Path:        f.Path,
		Name:        f.Path,
		RunName:     value(f.RunName),
		Env:         entries(f.Env),
		Defaults:    defaults(f.Defaults),
		Concurrency: concurrency(f.Concurrency),
		Permissions: permissions(f.Permissions),
	}
	if f.Name != nil && f.Name.Text != "" {
		p.Name = f.Name.Text
	}
	for _, e := range f.On {
		p.Events = append(p.Events, e.Name.Text)
	}
	for _, in := range startInputs(f) {
		p.Inputs = append(p.Inputs, input(in))
	}
	b := builder{aliases: map[string]*planv1.Alias{}, plan: p, uses: l.uses}
	for _, j := range f.Jobs {
		p.Jobs = append(p.Jobs, b.job(f, j))
	}
	for _, path := range l.order {
		p.Workflows = append(p.Workflows, b.workflow(l.files[path]))
	}
	return p
}

// startInputs are those of workflow_dispatch, or of workflow_call where only calls and this start the workflow.
func startInputs(f *syntax.File) []*syntax.Input {
	var called []*syntax.Input
	for _, e := range f.On {
		switch e.Name.Text {
		case "workflow_dispatch":
			return e.Inputs
		case "workflow_call":
			called = e.Inputs
		}
	}
	return called
}

// value is a scalar's text, or the one expression that gives it; nil for an absent or empty key.
func value(s *syntax.Scalar) *planv1.Value {
	if s == nil {
		return nil
	}
	v := &planv1.Value{Position: position(s.Pos)}
	if s.HasExpression() {
		// check has split the same text before, so it has no error.
		if parts, err := expr.Split(s.Text); err == nil {
			v.Kind = &planv1.Value_Expr{Expr: expr.Join(parts)}
			return v
		}
	}
	v.Kind = &planv1.Value_Literal{Literal: s.Text}
	return v
}

func values(list []*syntax.Scalar) []*planv1.Value {
	out := make([]*planv1.Value, len(list))
	for i, s := range list {
		out[i] = value(s)
	}
	return out
}

func entries(m *syntax.Map) []*planv1.Entry {
	if m == nil {
		return nil
	}
	out := make([]*planv1.Entry, len(m.Pairs))
	for i, p := range m.Pairs {
		out[i] = &planv1.Entry{Name: p.Key.Text, Value: value(p.Value)}
	}
	return out
}

func position(p syntax.Pos) *planv1.Position {
	return &planv1.Position{Line: uint32(p.Line), Column: uint32(p.Column)} //nolint:gosec // a file has at most a few million lines
}

func defaults(d *syntax.Defaults) *planv1.Defaults {
	if d == nil {
		return nil
	}
	return &planv1.Defaults{Shell: value(d.Shell), WorkingDirectory: value(d.WorkingDirectory)}
}

func concurrency(c *syntax.Concurrency) *planv1.Concurrency {
	if c == nil {
		return nil
	}
	return &planv1.Concurrency{Group: value(c.Group), CancelInProgress: value(c.CancelInProgress), Queue: value(c.Queue)}
}

func input(in *syntax.Input) *planv1.Input {
	out := &planv1.Input{Name: in.Name.Text, Type: "string", Required: in.Required}
	if in.Type != nil {
		out.Type = in.Type.Text
	}
	if in.Default != nil && in.Default.Kind != syntax.NullScalar {
		out.Default, out.HasDefault = in.Default.Text, true
	}
	if in.Description != nil {
		out.Description = in.Description.Text
	}
	for _, o := range in.Options {
		out.Options = append(out.Options, o.Text)
	}
	return out
}
