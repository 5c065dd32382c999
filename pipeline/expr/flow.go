package expr

import "strings"

// Flow is a reference whose value, or a part of it, can become part of what the expression gives.
type Flow struct {
	Reference
	// Whole: every part of the value shows, because it passes through toJSON, join or a function that is not known.
	Whole bool
}

// Flows lists what the expression's value can be made of, in order. What is only compared, negated, searched or asked
// for its truth is not: the result of `contains(a, 'x')` holds nothing of a, and that of `a && b` is b or is falsy.
func (e *Expr) Flows() []Flow {
	var all []Flow
	flows(e.root, false, &all)
	return all
}

// noFlow are functions whose result holds nothing of their arguments.
var noFlow = []string{"contains", "startsWith", "endsWith", "hashFiles", "success", "failure", "always", "cancelled"}

// flows recurses no deeper than the parser allows.
func flows(n node, whole bool, all *[]Flow) {
	switch n := n.(type) {
	case *context, *index:
		if ref, ok := referenceOf(n); ok {
			*all = append(*all, Flow{ref, whole})
			return
		}
		flows(baseOf(n), true, all)
	case *logic:
		args := n.args
		if n.and && len(args) > 0 {
			args = args[len(args)-1:]
		}
		for _, arg := range args {
			flows(arg, whole, all)
		}
	case *call:
		flowsOfCall(n, whole, all)
	case *literal, *not, *compare:
	}
}

func flowsOfCall(n *call, whole bool, all *[]Flow) {
	if contains(noFlow, n.name) {
		return
	}
	name := strings.ToLower(n.name)
	switch name {
	case "tojson", "join":
		whole = true
	case "format", "fromjson", "case":
	default:
		whole = true
	}
	for i, arg := range n.args {
		if name == "case" && i%2 == 0 && i < len(n.args)-1 {
			continue // a predicate
		}
		flows(arg, whole, all)
	}
}

// referenceOf reads a chain of accessors that begins with a context.
func referenceOf(n node) (Reference, bool) {
	var path []string
	for {
		switch x := n.(type) {
		case *context:
			for i, j := 0, len(path)-1; i < j; i, j = i+1, j-1 {
				path[i], path[j] = path[j], path[i]
			}
			return Reference{Context: strings.ToLower(x.name), Path: path, Offset: x.offset()}, true
		case *index:
			switch key := x.key.(type) {
			case nil:
				path = append(path, "*")
			case *literal:
				path = append(path, key.value.Text())
			default:
				path = path[:0] // what follows a computed key says nothing
			}
			n = x.of
		default:
			return Reference{}, false
		}
	}
}

// baseOf is what a chain of accessors begins with.
func baseOf(n node) node {
	for {
		x, ok := n.(*index)
		if !ok {
			return n
		}
		n = x.of
	}
}
