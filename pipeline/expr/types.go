package expr

import (
	"math"
	"strings"
)

// kinds is a set of kinds that a part of an expression can have.
type kinds uint8

const anyKind kinds = 1<<(KindObject+1) - 1

func only(k Kind) kinds { return 1 << k }

const (
	collections = kinds(1<<KindArray | 1<<KindObject)
	primitives  = anyKind &^ collections
)

// within reports whether k holds nothing beside what of holds.
func (k kinds) within(of kinds) bool { return k&^of == 0 }

func (k kinds) String() string {
	var names []string
	for kind := KindNull; kind <= KindObject; kind++ {
		if k&only(kind) != 0 {
			names = append(names, strings.ToLower(kind.String()))
		}
	}
	return strings.Join(names, " or ")
}

// results are the kinds of what functions give, where they don't depend on the arguments.
var results = map[string]Kind{
	"contains": KindBool, "startswith": KindBool, "endswith": KindBool, "format": KindString, "join": KindString,
	"tojson": KindString, "hashfiles": KindString,
	"success": KindBool, "failure": KindBool, "always": KindBool, "cancelled": KindBool,
}

// kindsOf says what kinds a part can have before evaluation.
func kindsOf(n node) kinds {
	switch n := n.(type) {
	case *literal:
		return only(n.value.kind)
	case *context:
		if contains(knownContexts, n.name) {
			return only(KindObject)
		}
	case *not, *compare:
		return only(KindBool)
	case *index:
		if n.key == nil {
			return only(KindArray)
		}
	case *logic:
		var all kinds
		for _, arg := range n.args {
			all |= kindsOf(arg)
		}
		return all
	case *call:
		if k, ok := results[strings.ToLower(n.name)]; ok {
			return only(k)
		}
		if v, ok := jsonLiteral(n); ok {
			return only(v.kind)
		}
	}
	return anyKind
}

// jsonLiteral is the value of fromJSON of a literal that is JSON.
func jsonLiteral(n *call) (Value, bool) {
	text, ok := literalArg(n, "fromjson")
	if !ok {
		return Value{}, false
	}
	v, err := FromJSON([]byte(text))
	return v, err == nil
}

// literalArg is the text of the first argument of a call of the named function, if that is a literal.
func literalArg(n *call, name string) (string, bool) {
	if !strings.EqualFold(n.name, name) || len(n.args) == 0 {
		return "", false
	}
	l, ok := n.args[0].(*literal)
	if !ok {
		return "", false
	}
	return l.value.Text(), true
}

// checkTypes finds what surely fails, or has surely not the value that was meant, whatever the contexts hold.
func (e *Expr) checkTypes() []*SyntaxError {
	t := typeChecker{src: e.src}
	type visit struct {
		n      node
		unsure bool
	}
	stack := []visit{{n: e.root}}
	for len(stack) > 0 {
		v := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		t.unsure = v.unsure
		switch n := v.n.(type) {
		case *call:
			t.call(n)
		case *compare:
			t.compare(n)
		case *index:
			t.index(n)
		}
		below, sure := children(v.n), surely(v.n)
		for i := len(below) - 1; i >= 0; i-- {
			stack = append(stack, visit{below[i], v.unsure || i >= sure})
		}
	}
	return t.problems
}

// surely is how many of a node's children are evaluated whatever the contexts hold.
func surely(n node) int {
	switch n := n.(type) {
	case *logic:
		i := 0
		for ; i < len(n.args)-1; i++ {
			if l, ok := n.args[i].(*literal); !ok || l.value.Truthy() != n.and {
				break
			}
		}
		return i + 1
	case *call:
		if strings.EqualFold(n.name, "case") {
			return 1
		}
	}
	return math.MaxInt
}

type typeChecker struct {
	src      string
	problems []*SyntaxError
	// unsure: what is looked at may never be evaluated.
	unsure bool
}

// fails reports what is an error when it is evaluated.
func (t *typeChecker) fails(n node, format string, args ...any) {
	p := t.errorf(n, format, args...)
	if t.unsure {
		p.Warning = true
		p.Message += "; it fails if it is evaluated"
	}
}

func (t *typeChecker) errorf(n node, format string, args ...any) *SyntaxError {
	p := syntaxError(t.src, n.offset(), format, args...)
	t.problems = append(t.problems, p)
	return p
}

func (t *typeChecker) warnf(n node, hint, format string, args ...any) {
	p := t.errorf(n, format, args...)
	p.Warning, p.Hint = true, hint
}

func (t *typeChecker) call(n *call) {
	if b, ok := builtins[strings.ToLower(n.name)]; !ok || b.arity.check(n.name, len(n.args)) != nil {
		return // CheckNames says what is wrong with it
	}
	switch strings.ToLower(n.name) {
	case "format":
		t.format(n)
	case "fromjson":
		text, ok := literalArg(n, "fromjson")
		if !ok {
			return
		}
		if strings.TrimSpace(text) == "" {
			t.fails(n.args[0], "fromJSON is given an empty string, which is not JSON")
		} else if _, err := FromJSON([]byte(text)); err != nil {
			t.fails(n.args[0], "fromJSON: `%s` is %v", clip(text), err)
		}
	case "case":
		for i := 0; i+1 < len(n.args); i += 2 {
			if k := kindsOf(n.args[i]); k&only(KindBool) == 0 {
				t.unsure = t.unsure || i > 0
				t.fails(n.args[i], "case needs a boolean here, not %s", k)
			}
		}
	case "contains":
		if kindsOf(n.args[0]).within(only(KindObject)) {
			t.warnf(n, "look for a value among an object's with `.*`", "this is always false: contains does not look into an object")
		}
	case "startswith", "endswith":
		for _, arg := range n.args {
			if k := kindsOf(arg); k.within(collections) {
				t.warnf(n, "", "this is always false: %s compares texts, and this is an %s", n.name, k)
				break
			}
		}
	case "join":
		if kindsOf(n.args[0]).within(only(KindObject)) {
			t.warnf(n, "join its values, with `.*`", "this is always empty: join takes an array, not an object")
		}
	}
}

func (t *typeChecker) format(n *call) {
	if err := formatProblem(n); err != nil {
		t.fails(n, "%v", err)
		return
	}
	for _, arg := range n.args[1:] {
		if k := kindsOf(arg); k.within(collections) {
			t.warnf(arg, "write it out with toJSON()", "format writes an %s as the word `%s`", k, strings.ToUpper(k.String()[:1])+k.String()[1:])
		}
	}
}

// compare finds comparisons that have one outcome only.
func (t *typeChecker) compare(n *compare) {
	a, b := kindsOf(n.a), kindsOf(n.b)
	outcome := "false"
	if n.op == "!=" {
		outcome = "true"
	}
	switch {
	case a.within(collections) && b.within(primitives), a.within(primitives) && b.within(collections):
		t.warnf(n, "", "this is always %s: %s and %s are never equal, nor is one less than the other", outcome, article(a), article(b))
	case never(n.a, a, b) || never(n.b, b, a):
		hint := ""
		if (a | b).within(only(KindBool) | only(KindString)) {
			hint = "a boolean stands without quotes: true"
		}
		t.warnf(n, hint, "this is always %s: beside %s the text becomes a number, and it is none", outcome, article((a|b)&^only(KindString)))
	case isNaN(n.a) || isNaN(n.b):
		t.warnf(n, "", "this is always %s: NaN equals nothing, not even NaN", outcome)
	}
}

// never reports whether n is a text that is no number, and stands beside what makes it one.
func never(n node, own, other kinds) bool {
	l, ok := n.(*literal)
	return ok && own == only(KindString) && other.within(primitives&^only(KindString)) && math.IsNaN(ParseNumber(l.value.str))
}

func isNaN(n node) bool {
	l, ok := n.(*literal)
	return ok && l.value.kind == KindNumber && math.IsNaN(l.value.num)
}

func (t *typeChecker) index(n *index) {
	k := kindsOf(n.of)
	if !k.within(primitives) {
		return
	}
	if n.key == nil {
		t.warnf(n, "", "this is always an empty array: %s has no items", article(k))
		return
	}
	t.warnf(n, "", "this is always null: %s has no properties", article(k))
}

// article says a set of kinds in a sentence.
func article(k kinds) string {
	s := k.String()
	switch {
	case k == only(KindNull):
		return s
	case strings.IndexByte("aeiou", s[0]) >= 0:
		return "an " + s
	}
	return "a " + s
}
