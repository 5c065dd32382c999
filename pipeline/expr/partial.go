package expr

import "strings"

// Verdict is what is known of a condition before all of its contexts exist.
type Verdict uint8

// Verdicts.
const (
	Unknown Verdict = iota
	False
	True
)

// Decide says whether the expression's value is true, as far as env and known tell. known reports whether env holds what a reference will give at
// run time; functions are known if env has them. It is three-valued: `a && false` is false whatever a is.
func (e *Expr) Decide(env *Env, known func(Reference) bool) Verdict {
	d := decider{evaluator: evaluator{src: e.src, env: env, left: MaxBytes}, known: known}
	return d.truth(e.root)
}

type decider struct {
	evaluator
	known func(Reference) bool
}

// truth recurses no deeper than the parser allows.
func (d *decider) truth(n node) Verdict {
	switch n := n.(type) {
	case *not:
		switch d.truth(n.of) {
		case True:
			return False
		case False:
			return True
		case Unknown:
		}
		return Unknown
	case *logic:
		decisive, other := True, False
		if n.and {
			decisive, other = False, True
		}
		verdict := other
		for _, arg := range n.args {
			truth := d.truth(arg)
			if truth == decisive {
				return decisive
			}
			if truth == Unknown {
				verdict = Unknown
			}
		}
		return verdict
	}
	if !d.certain(n) {
		return Unknown
	}
	v, err := d.eval(n)
	switch {
	case err != nil:
		return Unknown
	case v.Truthy():
		return True
	}
	return False
}

// certain: everything that the value depends on is known.
func (d *decider) certain(n node) bool {
	switch n := n.(type) {
	case *context, *index:
		if ref, ok := referenceOf(n); ok {
			return d.known(ref) && d.keysCertain(n)
		}
	case *call:
		if _, ok := builtins[strings.ToLower(n.name)]; !ok {
			if _, ok := lookupFunction(d.env, n.name); !ok {
				return false
			}
		}
	}
	for _, child := range children(n) {
		if !d.certain(child) {
			return false
		}
	}
	return true
}

// keysCertain looks at the computed keys of a chain of accessors.
func (d *decider) keysCertain(n node) bool {
	for {
		x, ok := n.(*index)
		if !ok {
			return true
		}
		if x.key != nil && !d.certain(x.key) {
			return false
		}
		n = x.of
	}
}

func lookupFunction(env *Env, name string) (Function, bool) {
	for key, f := range env.Functions {
		if strings.EqualFold(key, name) {
			return f, true
		}
	}
	return nil, false
}
