// Package resolve gives the values of a compiled plan their content at run time. The coordinator uses it for jobs, the
// agent for steps; both get the same answers.
package resolve

import (
	"fmt"
	"math"
	"strings"
	"unicode/utf8"

	"github.com/slipway-ci/slipway/pipeline/expr"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// Error says which place of the workflow file has no usable value. It is the user's to repair.
type Error struct {
	// Line and Column in the workflow file; 0 where the plan does not say.
	Line, Column uint32
	Err          error
}

// Error returns the reason with its place.
func (e *Error) Error() string {
	if e.Line == 0 {
		return e.Err.Error()
	}
	return fmt.Sprintf("line %d, column %d: %v", e.Line, e.Column, e.Err)
}

// Unwrap returns the reason.
func (e *Error) Unwrap() error { return e.Err }

func fail(p *planv1.Position, err error) error {
	return &Error{Line: p.GetLine(), Column: p.GetColumn(), Err: err}
}

// Value is what v is: a string for a literal, anything for an expression; null if v is nil.
func Value(v *planv1.Value, env *expr.Env) (expr.Value, error) {
	switch k := v.GetKind().(type) {
	case *planv1.Value_Literal:
		return expr.String(k.Literal), nil
	case *planv1.Value_Expr:
		out, err := eval(k.Expr, env)
		if err != nil {
			return expr.Value{}, fail(v.GetPosition(), err)
		}
		return out, nil
	}
	return expr.Null(), nil
}

func eval(src string, env *expr.Env) (expr.Value, error) {
	e, err := expr.ParseCompiled(src)
	if err != nil {
		return expr.Value{}, fmt.Errorf("bad expression `%s`: %w", clip(src), err)
	}
	out, err := e.Eval(env)
	if err != nil {
		return expr.Value{}, fmt.Errorf("can't evaluate `%s`: %w", clip(src), err)
	}
	return out, nil
}

const mostQuoted = 100

// clip shortens an expression.
func clip(s string) string {
	if r := []rune(s); len(r) > mostQuoted {
		return string(r[:mostQuoted]) + "…"
	}
	return s
}

// quote is a value as an error repeats it: whole or not at all, since a part of a secret would not be recognised and hidden.
func quote(s string) string {
	if n := utf8.RuneCountInString(s); n > mostQuoted {
		return fmt.Sprintf("a text of %d characters", n)
	}
	return "`" + s + "`"
}

// String is v as text; "" if v is nil. An array or object is an error: its text would only say "Array" or "Object".
func String(v *planv1.Value, env *expr.Env) (string, error) {
	out, err := Value(v, env)
	if err != nil {
		return "", err
	}
	if !out.IsPrimitive() {
		return "", fail(v.GetPosition(), fmt.Errorf("a string is needed, and the expression gave an %s; wrap it in toJSON()",
			strings.ToLower(out.Kind().String())))
	}
	return out.Text(), nil
}

// Bool is v as a boolean; def if v is nil or gives nothing. The strings true and false count, as inputs are strings.
func Bool(v *planv1.Value, env *expr.Env, def bool) (bool, error) {
	out, err := Value(v, env)
	if err != nil {
		return def, err
	}
	switch text := out.Text(); {
	case out.IsNull() || text == "":
		return def, nil
	case out.Kind() == expr.KindBool:
		return out.Truthy(), nil
	case out.Kind() == expr.KindString && strings.EqualFold(text, "true"):
		return true, nil
	case out.Kind() == expr.KindString && strings.EqualFold(text, "false"):
		return false, nil
	default:
		return def, fail(v.GetPosition(), fmt.Errorf("true or false is needed, not %s", quote(text)))
	}
}

// Number is v as a number; def if v is nil or gives nothing.
func Number(v *planv1.Value, env *expr.Env, def float64) (float64, error) {
	out, err := Value(v, env)
	if err != nil {
		return def, err
	}
	if out.IsNull() || out.Kind() == expr.KindString && strings.TrimSpace(out.Text()) == "" {
		return def, nil
	}
	n := out.Float()
	if out.Kind() == expr.KindBool || math.IsNaN(n) || math.IsInf(n, 0) {
		return def, fail(v.GetPosition(), fmt.Errorf("a number is needed, not %s", quote(out.Text())))
	}
	return n, nil
}

// Strings is a list of texts; an expression that gives an array adds each of its items. Empty texts are left out.
func Strings(vs []*planv1.Value, env *expr.Env) ([]string, error) {
	var out []string
	for _, v := range vs {
		got, err := Value(v, env)
		if err != nil {
			return nil, err
		}
		items := got.Items()
		if got.Kind() != expr.KindArray {
			items = []expr.Value{got}
		}
		for _, item := range items {
			if !item.IsPrimitive() {
				return nil, fail(v.GetPosition(), fmt.Errorf("a string is needed, and the expression gave an %s",
					strings.ToLower(item.Kind().String())))
			}
			if text := item.Text(); text != "" {
				out = append(out, text)
			}
		}
	}
	return out, nil
}

// Pair is one resolved entry.
type Pair struct{ Name, Value string }

// Entries resolves a mapping, in order. Later entries of the same mapping don't see earlier ones.
func Entries(entries []*planv1.Entry, env *expr.Env) ([]Pair, error) {
	out := make([]Pair, 0, len(entries))
	for _, e := range entries {
		text, err := String(e.GetValue(), env)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.GetName(), err)
		}
		out = append(out, Pair{e.GetName(), text})
	}
	return out, nil
}

// Condition evaluates an `if` of a plan; the status functions come with env. An empty condition holds.
func Condition(src string, env *expr.Env) (bool, error) {
	if src == "" {
		return true, nil
	}
	out, err := eval(src, env)
	if err != nil {
		return false, err
	}
	return out.Truthy(), nil
}
