package expr

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Arity is how many arguments a function takes. Max < 0 is any number.
type Arity struct {
	Min, Max int
	// Odd: the number must be odd.
	Odd bool
}

func (a Arity) check(name string, n int) error {
	var want string
	switch {
	case a.Max == a.Min && n != a.Min:
		want = strconv.Itoa(a.Min)
	case n < a.Min:
		want = fmt.Sprintf("at least %d", a.Min)
	case a.Max >= 0 && n > a.Max:
		want = fmt.Sprintf("at most %d", a.Max)
	case a.Odd && n%2 == 0:
		want = "an odd number"
	default:
		return nil
	}
	return fmt.Errorf("%s takes %s, not %d, arguments", name, want, n)
}

type builtin struct {
	arity Arity
	eval  func(ev *evaluator, args []node) (Value, error)
}

// builtins are the functions that every expression has, by lower-case name. They evaluate their own arguments, because
// some (case, format) leave some out.
var builtins map[string]builtin

func init() { // not a literal: the functions refer to the table through eval
	builtins = map[string]builtin{
		"case":       {Arity{Min: 3, Max: -1, Odd: true}, evalCase},
		"contains":   {Arity{Min: 2, Max: 2}, evalContains},
		"endswith":   {Arity{Min: 2, Max: 2}, evalEndsWith},
		"format":     {Arity{Min: 1, Max: -1}, evalFormat},
		"fromjson":   {Arity{Min: 1, Max: 1}, evalFromJSON},
		"join":       {Arity{Min: 1, Max: 2}, evalJoin},
		"startswith": {Arity{Min: 2, Max: 2}, evalStartsWith},
		"tojson":     {Arity{Min: 1, Max: 1}, evalToJSON},
	}
}

var builtinNames = []string{"case", "contains", "endsWith", "format", "fromJSON", "join", "startsWith", "toJSON"}

// evalContains, as all functions here, evaluates no argument that can't matter any more; so does GitHub's runner.
func evalContains(ev *evaluator, args []node) (Value, error) {
	in, err := ev.eval(args[0])
	if err != nil || in.kind == KindObject || in.kind == KindArray && len(in.arr.items) == 0 {
		return Bool(false), err
	}
	what, err := ev.eval(args[1])
	if err != nil {
		return Value{}, err
	}
	if in.kind == KindArray {
		for _, item := range in.arr.items {
			if Equal(item, what) {
				return Bool(true), nil
			}
		}
		return Bool(false), nil
	}
	return Bool(what.IsPrimitive() && strings.Contains(fold(in.Text()), fold(what.Text()))), nil
}

func evalStartsWith(ev *evaluator, args []node) (Value, error) {
	return ev.affix(args, strings.HasPrefix)
}

func evalEndsWith(ev *evaluator, args []node) (Value, error) {
	return ev.affix(args, strings.HasSuffix)
}

func (ev *evaluator) affix(args []node, has func(s, affix string) bool) (Value, error) {
	s, err := ev.eval(args[0])
	if err != nil || !s.IsPrimitive() {
		return Bool(false), err
	}
	affix, err := ev.eval(args[1])
	if err != nil || !affix.IsPrimitive() {
		return Bool(false), err
	}
	return Bool(has(fold(s.Text()), fold(affix.Text()))), nil
}

func evalJoin(ev *evaluator, args []node) (Value, error) {
	list, err := ev.eval(args[0])
	if err != nil {
		return Value{}, err
	}
	switch {
	case list.kind == KindObject:
		return String(""), nil
	case list.kind != KindArray:
		return String(list.Text()), nil
	}
	separator := ","
	if len(args) > 1 && len(list.arr.items) > 1 {
		v, err := ev.eval(args[1])
		if err != nil {
			return Value{}, err
		}
		if v.IsPrimitive() {
			separator = v.Text()
		}
	}
	var b strings.Builder
	for i, item := range list.arr.items {
		if i > 0 {
			b.WriteString(separator)
		}
		b.WriteString(item.Text())
		if b.Len() > ev.left {
			return Value{}, errTooLarge
		}
	}
	return String(b.String()), ev.charge(b.Len())
}

func evalToJSON(ev *evaluator, args []node) (Value, error) {
	v, err := ev.eval(args[0])
	if err != nil {
		return Value{}, err
	}
	w := jsonWriter{pretty: true, limit: ev.left + 1}
	w.write(v, 0)
	return String(w.b.String()), ev.charge(w.b.Len())
}

func evalFromJSON(ev *evaluator, args []node) (Value, error) {
	v, err := ev.eval(args[0])
	if err != nil {
		return Value{}, err
	}
	text := v.Text()
	if strings.TrimSpace(text) == "" {
		return Value{}, errors.New("fromJSON was given an empty string, which is not JSON")
	}
	if err := ev.charge(len(text)); err != nil {
		return Value{}, err
	}
	out, err := FromJSON([]byte(text))
	if err != nil {
		return Value{}, fmt.Errorf("fromJSON: %s is %w", quote(text), err)
	}
	return out, nil
}

func evalCase(ev *evaluator, args []node) (Value, error) {
	for i := 0; i+1 < len(args); i += 2 {
		when, err := ev.eval(args[i])
		if err != nil {
			return Value{}, err
		}
		if when.kind != KindBool {
			return Value{}, ev.fail(args[i], fmt.Errorf("case needs a boolean here, not a %s", when.kind))
		}
		if when.Truthy() {
			return ev.eval(args[i+1])
		}
	}
	return ev.eval(args[len(args)-1])
}

func evalFormat(ev *evaluator, args []node) (Value, error) {
	template, err := ev.eval(args[0])
	if err != nil {
		return Value{}, err
	}
	parts, err := parseFormat(template.Text())
	if err != nil {
		return Value{}, err
	}
	texts := make([]*string, len(args)-1)
	var b strings.Builder
	for _, part := range parts {
		text := part.text
		if part.arg >= 0 {
			if part.arg >= len(texts) {
				return Value{}, fmt.Errorf("format: {%d} has no argument", part.arg)
			}
			if texts[part.arg] == nil {
				v, err := ev.eval(args[part.arg+1])
				if err != nil {
					return Value{}, err
				}
				s := v.Text()
				texts[part.arg] = &s
			}
			text = *texts[part.arg]
		}
		if err := ev.charge(len(text)); err != nil {
			return Value{}, err
		}
		b.WriteString(text)
	}
	return String(b.String()), nil
}

type formatPart struct {
	text string
	arg  int // -1: text
}

// parseFormat reads text with {0}; {{ and }} stand for one brace.
func parseFormat(s string) ([]formatPart, error) {
	var parts []formatPart
	for s != "" {
		i := strings.IndexAny(s, "{}")
		if i < 0 {
			return append(parts, formatPart{s, -1}), nil
		}
		if i+1 < len(s) && s[i+1] == s[i] {
			parts = append(parts, formatPart{s[:i+1], -1})
			s = s[i+2:]
			continue
		}
		end := strings.IndexByte(s[i:], '}')
		if s[i] == '}' || end < 0 {
			return nil, fmt.Errorf("format: a lone `%c` in `%s`; write it twice to mean itself", s[i], clip(s))
		}
		// A colon would begin a format specifier; GitHub knows none, and takes none for an empty one.
		n, err := strconv.ParseUint(strings.TrimSuffix(s[i+1:i+end], ":"), 10, 31)
		if err != nil {
			return nil, fmt.Errorf("format: `%s` is not the number of an argument", clip(s[i:i+end+1]))
		}
		parts = append(parts, formatPart{s[:i], -1}, formatPart{"", int(n)})
		s = s[i+end+1:]
	}
	return parts, nil
}

// formatProblem checks a format() whose template is a literal, as far as that goes before evaluation.
func formatProblem(n *call) error {
	template, ok := n.args[0].(*literal)
	if !ok {
		return nil
	}
	parts, err := parseFormat(template.value.Text())
	if err != nil {
		return err
	}
	most := -1
	for _, part := range parts {
		most = max(most, part.arg)
	}
	if most >= len(n.args)-1 {
		return fmt.Errorf("format: {%d} has no argument", most)
	}
	return nil
}

// MaxArity is the number of arguments that a function may take: GitHub counts them in a byte.
const MaxArity = math.MaxUint8
