package compile

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/pipeline/check"
	"github.com/slipway-ci/slipway/pipeline/diag"
	"github.com/slipway-ci/slipway/pipeline/syntax"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// linker finds the workflows that a workflow calls, and the actions that its steps use. Each is read, checked and followed once, however many ways lead to it.
type linker struct {
	opt   Options
	files map[string]*syntax.File
	texts map[string]text
	// order in which they were met.
	order []string
	// height of a workflow is the levels of calls below it, itself counted; 0 while it is being followed.
	height map[string]int
	// actions of the source tree by their directories, these in the order in which they were met, and which step uses which.
	actions     map[string]*action
	actionFiles []string
	uses        map[*syntax.Step]*use
	// useErrors and useFindings count what was said of uses.
	useErrors, useFindings int
	found                  diag.List
}

func newLinker(opt Options) *linker {
	return &linker{opt: opt, files: map[string]*syntax.File{}, texts: map[string]text{}, height: map[string]int{}, actions: map[string]*action{}, uses: map[*syntax.Step]*use{}}
}

// link follows the calls of a file and returns its height; chain are the paths of the workflows that lead to it, itself included.
func (l *linker) link(f *syntax.File, chain []string) int {
	height := 1
	for _, j := range f.Jobs {
		if j.Uses == nil {
			l.job(f, j)
			continue
		}
		path, found := check.CalleePath(f, j)
		if len(found) > 0 {
			continue // checking the file has said so
		}
		below, ok := l.follow(f, j, path, chain)
		if !ok {
			continue
		}
		if len(chain)+below > check.MaxCallDepth {
			l.errorf(f, j.Uses, "calls-too-deep", "", "workflows call each other more than %d levels deep here", check.MaxCallDepth)
			return height
		}
		height = max(height, below+1)
	}
	return height
}

// follow returns the height of what a job calls.
func (l *linker) follow(f *syntax.File, j *syntax.Job, path string, chain []string) (height int, ok bool) {
	if i := slices.Index(chain, path); i >= 0 {
		l.errorf(f, j.Uses, "call-cycle", "take one of the calls out", "these workflows call each other for ever: %s",
			strings.Join(append(slices.Clone(chain[i:]), path), " → "))
		return 0, false
	}
	callee := l.files[path]
	if callee == nil {
		if callee = l.load(f, j, path); callee == nil {
			return 0, false
		}
		l.height[path] = l.link(callee, append(slices.Clone(chain), path))
	}
	l.found = append(l.found, check.Call(f, j, callee)...)
	return l.height[path], true
}

func (l *linker) load(f *syntax.File, j *syntax.Job, path string) *syntax.File {
	if len(l.order) == check.MaxCallees {
		l.errorf(f, j.Uses, "too-many-calls", "", "a run may call %d different workflows, and `%s` is one more", check.MaxCallees, path)
		return nil
	}
	if l.opt.Read == nil {
		l.errorf(f, j.Uses, "no-tree", "run it from its project's directory", "`%s` can't be read here: there is no source tree", path)
		return nil
	}
	src, err := l.opt.Read(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		l.errorf(f, j.Uses, "unknown-workflow", "", "the source tree has no `%s`", path)
		return nil
	case err != nil:
		l.errorf(f, j.Uses, "unreadable-workflow", "", "`%s` can't be read: %v", path, err)
		return nil
	}
	callee, parsed := syntax.Parse(path, src, l.opt.Limits)
	l.files[path] = callee
	l.order = append(l.order, path)
	l.texts[path] = text{src, parsed}
	l.found = append(append(l.found, parsed...), check.Check(callee)...)
	return callee
}

func (l *linker) errorf(f *syntax.File, at *syntax.Scalar, code, hint, format string, args ...any) {
	l.found = append(l.found, diag.Diagnostic{Path: f.Path, Line: at.Pos.Line, Column: at.Pos.Column, Severity: diag.Error,
		Code: code, Message: fmt.Sprintf(format, args...), Hint: hint})
}

// workflow compiles a called workflow.
func (b *builder) workflow(f *syntax.File) *planv1.Workflow {
	w := &planv1.Workflow{Path: f.Path, Name: f.Path, Env: entries(f.Env), Defaults: defaults(f.Defaults),
		Concurrency: concurrency(f.Concurrency), Permissions: permissions(f.Permissions)}
	if f.Name != nil && f.Name.Text != "" {
		w.Name = f.Name.Text
	}
	for _, e := range f.On {
		if e.Name.Text != "workflow_call" {
			continue
		}
		for _, in := range e.Inputs {
			out := input(in)
			if in.Default != nil && in.Default.Kind != syntax.NullScalar {
				out.DefaultValue = typedValue(in.Default)
			}
			w.Inputs = append(w.Inputs, out)
		}
		for _, s := range e.Secrets {
			w.Secrets = append(w.Secrets, &planv1.Secret{Name: s.Name.Text, Required: s.Required})
		}
		for _, o := range e.Outputs {
			w.Outputs = append(w.Outputs, &planv1.Entry{Name: o.Name.Text, Value: value(o.Value)})
		}
	}
	for _, j := range f.Jobs {
		w.Jobs = append(w.Jobs, b.job(f, j))
	}
	return w
}

func call(f *syntax.File, j *syntax.Job) *planv1.Call {
	if j.Uses == nil {
		return nil
	}
	path, _ := check.CalleePath(f, j)
	c := &planv1.Call{Path: path, Secrets: entries(j.Secrets), InheritSecrets: j.InheritSecrets}
	if j.With != nil {
		for _, p := range j.With.Pairs {
			c.With = append(c.With, &planv1.Entry{Name: p.Key.Text, Value: typedValue(p.Value)})
		}
	}
	return c
}

// typedValue keeps the type that YAML gives a boolean or number: as an expression, which has one.
func typedValue(s *syntax.Scalar) *planv1.Value {
	v := value(s)
	switch s.Kind {
	case syntax.BoolScalar, syntax.NumberScalar:
		v.Kind = &planv1.Value_Expr{Expr: s.Text}
	case syntax.NullScalar:
		v.Kind = &planv1.Value_Expr{Expr: "null"}
	case syntax.StringScalar:
	}
	return v
}

func permissions(p *syntax.Permissions) *planv1.Permissions {
	if p == nil {
		return nil
	}
	out := &planv1.Permissions{}
	if p.All != nil {
		out.All = strings.TrimSuffix(p.All.Text, "-all")
	}
	for _, s := range p.Scopes {
		if s.Value.Text != "none" {
			out.Scopes = append(out.Scopes, &planv1.Permission{Scope: s.Key.Text, Level: s.Value.Text})
		}
	}
	return out
}
