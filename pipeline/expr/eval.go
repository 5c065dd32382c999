package expr

import (
	"errors"
	"fmt"
	"strings"
)

// MaxBytes is how much text one evaluation may make, so that a few nested format() calls can't fill the memory.
const MaxBytes = 10 << 20

// Function is a function that the caller supplies.
type Function func(args []Value) (Value, error)

// Env is what an expression sees.
type Env struct {
	// Contexts by name: github, needs, matrix …; nil is none.
	Contexts *Object
	// Functions beyond the built-in ones, by name in any case: success, failure, always, cancelled, hashFiles.
	Functions map[string]Function
}

// EvalError says why an expression has no value.
type EvalError struct {
	// Column of the part that failed, in characters from 1.
	Column int
	Err    error
}

// Error returns the reason with its column.
func (e *EvalError) Error() string { return fmt.Sprintf("%v at column %d", e.Err, e.Column) }

// Unwrap returns the reason.
func (e *EvalError) Unwrap() error { return e.Err }

var errTooLarge = fmt.Errorf("the expression makes more than %d MiB of text", MaxBytes>>20)

// Eval computes the expression's value. The error is an *EvalError.
func (e *Expr) Eval(env *Env) (Value, error) {
	if env == nil {
		env = &Env{}
	}
	ev := evaluator{src: e.src, env: env, left: MaxBytes}
	return ev.eval(e.root)
}

type evaluator struct {
	src  string
	env  *Env
	left int
}

func (ev *evaluator) fail(n node, err error) error {
	var inner *EvalError
	if errors.As(err, &inner) {
		return err
	}
	return &EvalError{Column: columnOf(ev.src, n.offset()), Err: err}
}

// charge counts bytes made against the evaluation's limit.
func (ev *evaluator) charge(n int) error {
	if ev.left -= n; ev.left < 0 {
		return errTooLarge
	}
	return nil
}

func (ev *evaluator) eval(n node) (Value, error) {
	switch n := n.(type) {
	case *literal:
		return n.value, nil
	case *context:
		return ev.context(n)
	case *index:
		return ev.index(n)
	case *not:
		v, err := ev.eval(n.of)
		return Bool(!v.Truthy()), err
	case *compare:
		return ev.compare(n)
	case *logic:
		return ev.logic(n)
	case *call:
		v, err := ev.call(n)
		if err != nil {
			return Value{}, ev.fail(n, err)
		}
		return v, nil
	}
	return Value{}, ev.fail(n, fmt.Errorf("unknown node %T", n))
}

func (ev *evaluator) context(n *context) (Value, error) {
	if ev.env.Contexts != nil {
		if v, ok := ev.env.Contexts.Get(n.name); ok {
			return v, nil
		}
	}
	return Value{}, ev.fail(n, fmt.Errorf("there is no context `%s` here", clip(n.name)))
}

// logic returns the operand that decides.
func (ev *evaluator) logic(n *logic) (v Value, err error) {
	for _, arg := range n.args {
		v, err = ev.eval(arg)
		if err != nil || v.Truthy() != n.and {
			return v, err
		}
	}
	return v, nil
}

func (ev *evaluator) compare(n *compare) (Value, error) {
	a, err := ev.eval(n.a)
	if err != nil {
		return Value{}, err
	}
	b, err := ev.eval(n.b)
	if err != nil {
		return Value{}, err
	}
	switch n.op {
	case "==":
		return Bool(Equal(a, b)), nil
	case "!=":
		return Bool(!Equal(a, b)), nil
	case "<":
		return Bool(less(a, b)), nil
	case "<=":
		return Bool(less(a, b) || Equal(a, b)), nil
	case ">":
		return Bool(less(b, a)), nil
	case ">=":
		return Bool(less(b, a) || Equal(a, b)), nil
	}
	return Value{}, ev.fail(n, fmt.Errorf("unknown operator %s", n.op))
}

func (ev *evaluator) index(n *index) (Value, error) {
	of, err := ev.eval(n.of)
	if err != nil {
		return Value{}, err
	}
	if of.IsPrimitive() {
		if n.key == nil {
			return filteredArray(nil), nil
		}
		return Null(), nil
	}
	if n.key == nil {
		if of.kind == KindArray && of.arr.filtered {
			return ev.each(of.arr.items, values)
		}
		return filteredArray(values(of)), nil
	}
	key, err := ev.eval(n.key)
	if err != nil {
		return Value{}, err
	}
	if of.kind == KindArray && of.arr.filtered {
		return ev.each(of.arr.items, func(item Value) []Value {
			if found, ok := access(item, key); ok {
				return []Value{found}
			}
			return nil
		})
	}
	found, _ := access(of, key)
	return found, nil
}

// each collects what of gives for every item; the copying is charged, so that repeated `.*` stays bounded.
func (ev *evaluator) each(items []Value, of func(Value) []Value) (Value, error) {
	out := []Value{}
	for _, item := range items {
		out = append(out, of(item)...)
	}
	return filteredArray(out), ev.charge(len(items) + len(out))
}

// values returns an array's items or an object's values.
func values(v Value) []Value {
	switch v.kind {
	case KindArray:
		return v.arr.items
	case KindObject:
		out := make([]Value, len(v.obj.pairs))
		for i, p := range v.obj.pairs {
			out[i] = p.Value
		}
		return out
	case KindNull, KindBool, KindNumber, KindString:
	}
	return nil
}

// access is of[key]; ok is false where there is no such item.
func access(of, key Value) (found Value, ok bool) {
	switch of.kind {
	case KindObject:
		if key.IsPrimitive() {
			return of.obj.Get(key.Text())
		}
	case KindArray:
		if i, ok := arrayIndex(key); ok && i < len(of.arr.items) {
			return of.arr.items[i], true
		}
	case KindNull, KindBool, KindNumber, KindString:
	}
	return Value{}, false
}

func (ev *evaluator) call(n *call) (Value, error) {
	name := strings.ToLower(n.name)
	if b, ok := builtins[name]; ok {
		if err := b.arity.check(n.name, len(n.args)); err != nil {
			return Value{}, err
		}
		return b.eval(ev, n.args)
	}
	f, ok := ev.env.Functions[name]
	if !ok {
		for key, candidate := range ev.env.Functions {
			if strings.EqualFold(key, name) {
				f, ok = candidate, true
			}
		}
	}
	if !ok {
		return Value{}, fmt.Errorf("there is no function `%s` here", clip(n.name))
	}
	args := make([]Value, len(n.args))
	for i, arg := range n.args {
		v, err := ev.eval(arg)
		if err != nil {
			return Value{}, err
		}
		args[i] = v
	}
	v, err := f(args)
	if err != nil {
		return Value{}, fmt.Errorf("%s: %w", n.name, err)
	}
	return v, nil
}
