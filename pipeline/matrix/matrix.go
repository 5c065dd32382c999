// Package matrix turns a job's matrix into legs, in GitHub's order and with GitHub's matching of include and exclude
// (actions/runner, src/Sdk/WorkflowParser/Conversion/MatrixBuilder.cs).
package matrix

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/slipway-ci/slipway/pipeline/diag"
	"github.com/slipway-ci/slipway/pipeline/expr"
)

// MaxLegs is how many legs a matrix may have.
const MaxLegs = 256

// maxNameLength is where a job's display name is cut, in characters.
const maxNameLength = 100

// Leg is one combination of a matrix.
type Leg struct {
	// Values is the matrix context of the leg: an object. Null in the single leg of a job without a matrix.
	Values expr.Value
	// Label tells the leg apart in a name: the values of its axes, as "20, linux".
	Label string
}

// Error says what is wrong with a matrix, and in which part.
type Error struct {
	// Path from the matrix object to the part: ["exclude", "0", "os"]; empty is the matrix itself.
	Path    []string
	Message string
	Hint    string
}

// Error returns the message, with the part it is about.
func (e *Error) Error() string {
	where := "matrix"
	if len(e.Path) > 0 {
		where += "." + strings.Join(e.Path, ".")
	}
	return where + ": " + e.Message
}

func fail(path []string, format string, args ...any) error {
	return &Error{Path: path, Message: fmt.Sprintf(format, args...)}
}

// Expand returns the legs of a matrix object: the product of its axes, the first axis slowest, less what `exclude`
// matches; each extended by the entries of `include` that do not contradict it; then the entries of `include` that
// extended none. The error is an *Error.
func Expand(m expr.Value) ([]Leg, error) {
	axes, include, exclude, err := read(m)
	if err != nil {
		return nil, err
	}
	product, err := cross(axes)
	if err != nil {
		return nil, err
	}
	var legs []Leg
	used := make([]bool, len(include))
	for _, combination := range product {
		if matchesAny(exclude, combination) {
			continue
		}
		leg := Leg{Values: combination.Value(), Label: label(combination.Value())}
		var extras []expr.Pair
		for i, entry := range include {
			if entry.matches(combination) {
				used[i] = true
				extras = append(extras, entry.extras...)
			}
		}
		for _, extra := range extras {
			combination.Set(extra.Key, extra.Value)
		}
		legs = append(legs, leg)
	}
	for i, entry := range include {
		if !used[i] {
			values := expr.NewObject(append(append([]expr.Pair{}, entry.filter...), entry.extras...)...).Value()
			legs = append(legs, Leg{Values: values, Label: label(values)})
		}
	}
	switch {
	case len(legs) > MaxLegs:
		return nil, fail(nil, "it has %d legs, and %d are allowed", len(legs), MaxLegs)
	case len(legs) == 0:
		return nil, fail(nil, "it has no legs: every combination is excluded, or an axis is empty")
	}
	return legs, nil
}

type axis struct {
	name  string
	items []expr.Value
}

// entry is one item of include or exclude: what it must match, and (of include) what it adds.
type entry struct {
	filter, extras []expr.Pair
}

func read(m expr.Value) (axes []axis, include, exclude []entry, err error) {
	o := m.Object()
	if o == nil {
		return nil, nil, nil, fail(nil, "it must be an object of axes, not %s", article(m))
	}
	names := []string{}
	isAxis := expr.NewObject()
	for _, p := range o.Pairs() {
		if special(p.Key) {
			continue
		}
		if p.Value.Kind() != expr.KindArray {
			return nil, nil, nil, fail([]string{p.Key}, "an axis must be a list, not %s", article(p.Value))
		}
		axes = append(axes, axis{p.Key, p.Value.Items()})
		names = append(names, p.Key)
		isAxis.Set(p.Key, expr.Bool(true))
	}
	for _, p := range o.Pairs() {
		var read []entry
		if special(p.Key) {
			if read, err = readEntries(p, isAxis, names); err != nil {
				return nil, nil, nil, err
			}
		}
		switch strings.ToLower(p.Key) {
		case "include":
			include = read
		case "exclude":
			exclude = read
		}
	}
	return axes, include, exclude, nil
}

func special(key string) bool {
	return strings.EqualFold(key, "include") || strings.EqualFold(key, "exclude")
}

func readEntries(p expr.Pair, isAxis *expr.Object, names []string) ([]entry, error) {
	key := strings.ToLower(p.Key)
	if p.Value.Kind() != expr.KindArray {
		return nil, fail([]string{key}, "it must be a list of objects, not %s", article(p.Value))
	}
	var entries []entry
	for i, item := range p.Value.Items() {
		path := []string{key, fmt.Sprint(i)}
		o := item.Object()
		if o == nil {
			return nil, fail(path, "it must be an object, not %s", article(item))
		}
		if o.Len() == 0 {
			return nil, fail(path, "it is empty")
		}
		var e entry
		for _, pair := range o.Pairs() {
			if _, ok := isAxis.Get(pair.Key); ok {
				e.filter = append(e.filter, pair)
				continue
			}
			if key == "exclude" {
				return nil, &Error{
					Path:    append(path, pair.Key),
					Message: fmt.Sprintf("`%s` is not an axis of the matrix, so nothing can be excluded by it", pair.Key),
					Hint:    diag.DidYouMean(pair.Key, names),
				}
			}
			e.extras = append(e.extras, pair)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

// maxProduct bounds the product before exclude, so that a hostile matrix costs little.
const maxProduct = 1 << 16

func cross(axes []axis) ([]*expr.Object, error) {
	if len(axes) == 0 {
		return nil, nil
	}
	size := 1
	for _, a := range axes {
		if size *= len(a.items); size > maxProduct {
			return nil, fail(nil, "its axes have more than %d combinations, and %d are allowed", maxProduct, MaxLegs)
		}
	}
	out := make([]*expr.Object, size)
	for i := range out {
		o, block := expr.NewObject(), size
		for _, a := range axes {
			block /= len(a.items)
			o.Set(a.name, a.items[i/block%len(a.items)])
		}
		out[i] = o
	}
	return out, nil
}

func matchesAny(entries []entry, combination *expr.Object) bool {
	for _, e := range entries {
		if e.matches(combination) {
			return true
		}
	}
	return false
}

func (e entry) matches(combination *expr.Object) bool {
	for _, p := range e.filter {
		have, _ := combination.Get(p.Key)
		if !matches(have, p.Value) {
			return false
		}
	}
	return true
}

// matches compares each leaf of want with what have holds in its place, loosely.
func matches(have, want expr.Value) bool {
	switch want.Kind() {
	case expr.KindObject:
		for _, p := range want.Object().Pairs() {
			if !matches(have.Get(p.Key), p.Value) {
				return false
			}
		}
		return true
	case expr.KindArray:
		items := have.Items()
		for i, w := range want.Items() {
			h := expr.Null()
			if i < len(items) {
				h = items[i]
			}
			if !matches(h, w) {
				return false
			}
		}
		return true
	case expr.KindNull, expr.KindBool, expr.KindNumber, expr.KindString:
	}
	return expr.Equal(have, want)
}

// label lists the scalars of a leg, however deep; null and empty ones say nothing.
func label(v expr.Value) string {
	var parts []string
	var collect func(v expr.Value)
	collect = func(v expr.Value) {
		for _, item := range v.Items() {
			collect(item)
		}
		if o := v.Object(); o != nil {
			for _, p := range o.Pairs() {
				collect(p.Value)
			}
		}
		if v.IsPrimitive() && v.Text() != "" {
			parts = append(parts, v.Text())
		}
	}
	collect(v)
	return strings.Join(parts, ", ")
}

// JobName is the display name of a leg: "test (20, linux)", cut at 100 characters. A job whose `name` is an expression
// keeps what that gave; pass label "" for it.
func JobName(name, label string) string {
	if label != "" {
		name += " (" + label + ")"
	}
	if utf8.RuneCountInString(name) > maxNameLength {
		name = string([]rune(name)[:maxNameLength-3]) + "..."
	}
	return name
}

// Context is the strategy context of a leg. maxParallel 0 is as many as there are legs.
func Context(failFast bool, index, total, maxParallel int) expr.Value {
	if maxParallel <= 0 {
		maxParallel = total
	}
	return expr.NewObject(
		expr.Pair{Key: "fail-fast", Value: expr.Bool(failFast)},
		expr.Pair{Key: "job-index", Value: expr.Number(float64(index))},
		expr.Pair{Key: "job-total", Value: expr.Number(float64(total))},
		expr.Pair{Key: "max-parallel", Value: expr.Number(float64(maxParallel))},
	).Value()
}

func article(v expr.Value) string {
	switch v.Kind() {
	case expr.KindNull:
		return "null"
	case expr.KindArray:
		return "a list"
	case expr.KindObject:
		return "an object"
	case expr.KindBool, expr.KindNumber, expr.KindString:
	}
	return "a " + strings.ToLower(v.Kind().String())
}

// IsError returns the *Error in err's chain.
func IsError(err error) (*Error, bool) {
	var e *Error
	ok := errors.As(err, &e)
	return e, ok
}
