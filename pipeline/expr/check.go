package expr

import (
	"cmp"
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/pipeline/diag"
)

// Rules say what an expression may name where it stands.
type Rules struct {
	// Where names the place, for messages: "a job's `if`".
	Where string
	// Contexts that may be used.
	Contexts []string
	// Functions that may be used beside the built-in ones.
	Functions map[string]Arity
}

// knownContexts and knownFunctions exist somewhere, so a wrong place is told apart from a wrong name.
var (
	knownContexts = []string{"github", "env", "vars", "job", "jobs", "steps", "runner", "secrets", "strategy", "matrix",
		"needs", "inputs"}
	knownFunctions = []string{"success", "failure", "always", "cancelled", "hashFiles"}
)

// Check returns what CheckNames does, and what can be seen to fail or to be without effect before anything is
// evaluated: the latter as warnings. In order.
func (e *Expr) Check(r Rules) []*SyntaxError {
	problems := append(e.CheckNames(r), e.checkTypes()...)
	slices.SortStableFunc(problems, func(a, b *SyntaxError) int { return cmp.Compare(a.Offset, b.Offset) })
	return problems
}

// CheckNames returns everything that the expression names and r does not allow, and wrong numbers of arguments, in
// order. These are what GitHub's parser refuses.
func (e *Expr) CheckNames(r Rules) []*SyntaxError {
	var problems []*SyntaxError
	e.walk(func(n node) {
		switch n := n.(type) {
		case *context:
			if p := checkContext(e.src, n, r); p != nil {
				problems = append(problems, p)
			}
		case *call:
			if p := checkCall(e.src, n, r); p != nil {
				problems = append(problems, p)
			}
		}
	})
	return problems
}

func checkContext(src string, n *context, r Rules) *SyntaxError {
	if contains(r.Contexts, n.name) {
		return nil
	}
	if contains(knownContexts, n.name) {
		p := syntaxError(src, n.offset(), "the context `%s` does not exist in %s", n.name, r.Where)
		p.Hint = "there are here: " + list(r.Contexts)
		return p
	}
	p := syntaxError(src, n.offset(), "unknown context `%s`", clip(n.name))
	if p.Hint = diag.DidYouMean(n.name, r.Contexts); p.Hint == "" {
		p.Hint = "there are here: " + list(r.Contexts) + "; strings stand in single quotes"
	}
	return p
}

// checkFunction judges a function's name, and returns what it takes.
func checkFunction(src string, n *call, r Rules) (Arity, *SyntaxError) {
	if b, ok := builtins[strings.ToLower(n.name)]; ok {
		return b.arity, nil
	}
	if arity, ok := lookupFold(r.Functions, n.name); ok {
		return arity, nil
	}
	if contains(knownFunctions, n.name) {
		return Arity{}, syntaxError(src, n.offset(), "the function `%s` does not exist in %s", n.name, r.Where)
	}
	p := syntaxError(src, n.offset(), "unknown function `%s`", clip(n.name))
	names := append([]string(nil), builtinNames...)
	for _, name := range knownFunctions {
		if _, ok := r.Functions[name]; ok {
			names = append(names, name)
		}
	}
	if p.Hint = diag.DidYouMean(n.name, names); p.Hint == "" {
		p.Hint = "there are here: " + list(names)
	}
	return Arity{}, p
}

// checkCall judges a function's name and the number of its arguments.
func checkCall(src string, n *call, r Rules) *SyntaxError {
	arity, problem := checkFunction(src, n, r)
	if problem != nil {
		return problem
	}
	if err := arity.check(n.name, len(n.args)); err != nil {
		return syntaxError(src, n.offset(), "%v", err)
	}
	return nil
}

func (e *Expr) walk(visit func(node)) {
	stack := []node{e.root}
	for len(stack) > 0 {
		n := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		visit(n)
		below := children(n)
		for i := len(below) - 1; i >= 0; i-- {
			stack = append(stack, below[i])
		}
	}
}

// Calls reports whether the expression calls any of the named functions, anywhere.
func (e *Expr) Calls(names ...string) bool {
	found := false
	e.walk(func(n node) {
		if c, ok := n.(*call); ok && contains(names, c.name) {
			found = true
		}
	})
	return found
}

// Reference is one use of a context, with the properties that are known before evaluation: github.event.*.title is
// context github, path event, *, title. A computed key ends the path.
type Reference struct {
	Context string
	Path    []string
	// Offset in bytes from 0.
	Offset int
}

// References lists every use of a context, in order.
func (e *Expr) References() []Reference {
	var all []Reference
	inner := map[node]bool{}
	e.walk(func(n node) {
		if inner[n] {
			return
		}
		var path []string
		for at := n; ; {
			switch x := at.(type) {
			case *context:
				inner[x] = true
				for i, j := 0, len(path)-1; i < j; i, j = i+1, j-1 {
					path[i], path[j] = path[j], path[i]
				}
				all = append(all, Reference{Context: strings.ToLower(x.name), Path: path, Offset: x.offset()})
				return
			case *index:
				inner[x] = true
				switch key := x.key.(type) {
				case nil:
					path = append(path, "*")
				case *literal:
					path = append(path, key.value.Text())
				default:
					path = path[:0] // what follows a computed key says nothing
				}
				at = x.of
			default:
				return
			}
		}
	})
	return all
}

func contains(names []string, name string) bool {
	for _, n := range names {
		if strings.EqualFold(n, name) {
			return true
		}
	}
	return false
}

func lookupFold(m map[string]Arity, name string) (Arity, bool) {
	for key, a := range m {
		if strings.EqualFold(key, name) {
			return a, true
		}
	}
	return Arity{}, false
}

func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
