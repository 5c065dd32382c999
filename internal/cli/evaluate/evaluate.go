// Package evaluate answers expressions for `slipway eval`: one, or a stream of them.
//
// An expression is evaluated as a workflow's would be, with two exceptions, because nothing runs: hashFiles has no
// workspace to read and is an error, and the status functions look at what the contexts say (see status.go).
package evaluate

import (
	"errors"
	"fmt"
	"slices"

	"github.com/slipway-ci/slipway/pipeline/expr"
)

// Failure says why an expression has no value.
type Failure struct {
	Message string
	// Column in characters from 1.
	Column int
	// Hint may be empty.
	Hint string
}

// Error returns the message with its column, and the hint on a line of its own.
func (f *Failure) Error() string {
	s := fmt.Sprintf("column %d: %s", f.Column, f.Message)
	if f.Hint != "" {
		s += "\n  hint: " + f.Hint
	}
	return s
}

// Evaluator holds what every expression sees.
type Evaluator struct {
	env   *expr.Env
	rules expr.Rules
}

var statusArity = map[string]expr.Arity{
	"always": {}, "cancelled": {}, "success": {Max: -1}, "failure": {Max: -1}, "hashFiles": {Min: 1, Max: expr.MaxArity},
}

// New makes an evaluator for the contexts given, which may be nil. Any other context is unknown.
func New(contexts *expr.Object) *Evaluator {
	if contexts == nil {
		contexts = expr.NewObject()
	}
	names := make([]string, 0, contexts.Len())
	for _, p := range contexts.Pairs() {
		names = append(names, p.Key)
	}
	slices.Sort(names)
	functions := status(contexts)
	functions["hashFiles"] = func([]expr.Value) (expr.Value, error) {
		return expr.Value{}, errors.New("there is no workspace here whose files it could read")
	}
	return &Evaluator{
		env:   &expr.Env{Contexts: contexts, Functions: functions},
		rules: expr.Rules{Where: "what was given with --context", Contexts: names, Functions: statusArity},
	}
}

// Eval computes the value of an expression, written without ${{ and }}. The error is a *Failure. Names and the number of
// arguments are judged before anything is evaluated, as GitHub's parser does.
func (e *Evaluator) Eval(src string) (expr.Value, error) {
	parsed, err := expr.ParseFor(src, e.rules)
	if err != nil {
		return expr.Value{}, failure(err)
	}
	v, err := parsed.Eval(e.env)
	if err != nil {
		return expr.Value{}, failure(err)
	}
	return v, nil
}

func failure(err error) *Failure {
	var syntax *expr.SyntaxError
	var eval *expr.EvalError
	switch {
	case errors.As(err, &syntax):
		return &Failure{Message: syntax.Message, Column: syntax.Column, Hint: syntax.Hint}
	case errors.As(err, &eval):
		return &Failure{Message: eval.Err.Error(), Column: eval.Column}
	}
	return &Failure{Message: err.Error(), Column: 1}
}
