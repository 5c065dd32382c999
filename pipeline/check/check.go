// Package check finds what is wrong with the meaning of a workflow whose form package syntax has read: unknown needs and
// cycles, expressions that name what is not there, ids twice, matrices too large, features that do not run yet.
package check

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/slipway-ci/slipway/pipeline/diag"
	"github.com/slipway-ci/slipway/pipeline/expr"
	"github.com/slipway-ci/slipway/pipeline/syntax"
)

// Check returns every finding about f.
func Check(f *syntax.File) diag.List {
	c := newChecker(f)
	c.workflow()
	return c.found
}

// maxFindings bounds the errors and the warnings that a hostile file can cause. Looking further would cost too.
const maxFindings = 500

type checker struct {
	file  *syntax.File
	found diag.List
	job   *scope
	// stepTexts and stepIfs are what steps may use.
	stepTexts, stepIfs expr.Rules
	// inputs that the workflow, or action, defines.
	inputs names
	// whose: "workflow" or "action".
	whose string
	// errors and warnings in found.
	errors, warnings int
}

func newChecker(f *syntax.File) *checker {
	return &checker{file: f, stepTexts: stepRules, stepIfs: stepIfRules, whose: "workflow"}
}

// failed reports whether no further error will be shown.
func (c *checker) failed() bool { return c.errors > maxFindings }

// warned reports whether no further warning will be shown.
func (c *checker) warned() bool { return c.warnings > maxFindings }

// scope is what expressions of the current job can refer to.
type scope struct {
	needs, steps names
	// axes is nil where the matrix is computed, so its keys are not known.
	axes      *names
	hasMatrix bool
}

func (c *checker) report(severity diag.Severity, at syntax.Pos, code, hint, format string, args ...any) {
	count, plural := &c.errors, "errors"
	if severity == diag.Warning {
		count, plural = &c.warnings, "warnings"
	}
	switch *count++; {
	case *count > maxFindings+1:
		return
	case *count > maxFindings:
		code, hint, format, args = "too-many-findings", "repair these first", "there are more than %d %s", []any{maxFindings, plural}
	}
	c.found = append(c.found, diag.Diagnostic{
		Path: c.file.Path, Line: at.Line, Column: at.Column, Severity: severity,
		Code: code, Message: fmt.Sprintf(format, args...), Hint: hint,
	})
}

func (c *checker) errorf(at syntax.Pos, code, hint, format string, args ...any) {
	c.report(diag.Error, at, code, hint, format, args...)
}

func (c *checker) warnf(at syntax.Pos, code, hint, format string, args ...any) {
	c.report(diag.Warning, at, code, hint, format, args...)
}

func (c *checker) workflow() {
	f := c.file
	for _, e := range f.On {
		for _, in := range e.Inputs {
			c.inputs.add(in.Name.Text)
		}
	}
	c.text(f.RunName, runNameRules)
	c.textMap(f.Env, workflowEnvRules)
	c.envNames(f.Env)
	c.defaults(f.Defaults, workflowDefaults)
	c.concurrency(f.Concurrency, groupRules)
	c.permissions(f.Permissions)
	c.events()
	c.needs()
	for _, j := range f.Jobs {
		c.checkJob(j)
	}
}

func (c *checker) defaults(d *syntax.Defaults, r expr.Rules) {
	if d == nil {
		return
	}
	c.text(d.Shell, r)
	c.shell(d.Shell)
	c.text(d.WorkingDirectory, r)
}

func (c *checker) concurrency(g *syntax.Concurrency, r expr.Rules) {
	if g == nil {
		return
	}
	c.text(g.Group, r)
	c.text(g.CancelInProgress, r)
	c.text(g.Queue, r)
	if g.Queue == nil || g.Queue.HasExpression() {
		return
	}
	queues := []string{"single", "max"}
	switch {
	case !slices.Contains(queues, g.Queue.Text):
		c.errorf(g.Queue.Pos, "bad-value", diag.DidYouMean(g.Queue.Text, queues), "`queue` must be single or max, not `%s`", g.Queue.Text)
	case g.Queue.Text == "max" && g.CancelInProgress != nil && g.CancelInProgress.Text == "true":
		c.errorf(g.Queue.Pos, "bad-value", "leave one of them out",
			"`queue: max` keeps all in order, and `cancel-in-progress: true` cancels what runs: only one of them can hold")
	}
}

func (c *checker) permissions(p *syntax.Permissions) {
	if p == nil {
		return
	}
	for _, scope := range p.Scopes {
		if scope.Key.Text == "id-token" && scope.Value.Text == "write" {
			c.warnf(scope.Value.Pos, "no-id-token", "", "Slipway issues no OpenID Connect tokens yet: a step that asks for one will fail")
		}
	}
}

// text checks the expressions in a text.
func (c *checker) text(s *syntax.Scalar, r expr.Rules) {
	if c.failed() || !s.HasExpression() {
		return
	}
	parts, err := expr.Split(s.Text)
	if err != nil {
		c.syntaxError(s, 0, err)
		return
	}
	for _, p := range parts {
		if p.Expr {
			c.expression(s, p.Text, p.Offset, r)
		}
	}
	if len(parts) > 1 && expr.Length(expr.Join(parts)) > expr.MaxLength {
		c.errorf(s.Pos, "bad-expression", "give the values to `env`, so that the text needs no expression, or put the text into a file",
			"a text with expressions in it is one expression, text and all, and this one is longer than %d characters", expr.MaxLength)
	}
}

func (c *checker) textMap(m *syntax.Map, r expr.Rules) {
	if m == nil {
		return
	}
	for _, p := range m.Pairs {
		c.text(p.Value, r)
	}
}

// condition checks an `if`: an expression with or without ${{ }}.
func (c *checker) condition(s *syntax.Scalar, r expr.Rules) {
	if s == nil || s.Kind == syntax.NullScalar {
		return
	}
	if !s.HasExpression() {
		c.expression(s, s.Text, 0, r)
	} else {
		c.text(s, r)
	}
	src, whole := Condition(s)
	if expr.Length(src) > expr.MaxLength && expr.Length(strings.TrimSpace(s.Text)) <= expr.MaxLength {
		c.errorf(s.Pos, "bad-expression", "", "with the success() that every condition without a status function gets, this `if` is longer than %d characters", expr.MaxLength)
	}
	if !whole {
		c.warnf(s.Pos, "if-always-true", "put the whole condition inside one ${{ }}, or leave ${{ }} out",
			"this `if` is always true: beside ${{ }} it holds text, so it is a text that is not empty")
	}
}

// expression checks one expression, whose source stands at offset in the text of s.
func (c *checker) expression(s *syntax.Scalar, src string, offset int, r expr.Rules) {
	// The space around it does not count as a part of its length.
	if left := strings.TrimLeftFunc(src, unicode.IsSpace); left != "" {
		src, offset = strings.TrimRightFunc(left, unicode.IsSpace), offset+len(src)-len(left)
	}
	e, err := expr.Parse(src)
	if err != nil {
		c.syntaxError(s, offset, err)
		return
	}
	for _, p := range e.Check(r) {
		c.syntaxError(s, offset, p)
	}
	for _, ref := range e.References() {
		c.reference(s, offset, ref)
	}
}

func (c *checker) syntaxError(s *syntax.Scalar, offset int, err error) {
	if c.failed() {
		return
	}
	var se *expr.SyntaxError
	if !errors.As(err, &se) {
		c.errorf(s.Pos, "bad-expression", "", "bad expression: %v", err)
		return
	}
	if se.Warning && c.warned() {
		return
	}
	at := c.file.Place(s, offset+se.Offset)
	if se.Warning {
		c.warnf(at, "suspicious-expression", se.Hint, "%s", se.Message)
		return
	}
	c.errorf(at, "bad-expression", se.Hint, "bad expression: %s", se.Message)
}
