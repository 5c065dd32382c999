package resolve

import (
	"fmt"
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/pipeline/diag"
	"github.com/slipway-ci/slipway/pipeline/expr"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// Inputs is the inputs context of a run: what was given, of the type that the input has, or the default. given is the
// `inputs` object of a workflow_dispatch payload; null for none. A missing required input, one that does not exist and
// one of the wrong type are errors for who starts the run.
func Inputs(plan *planv1.Plan, given expr.Value) (expr.Value, error) {
	out := expr.NewObject()
	var names []string
	for _, in := range plan.GetInputs() {
		names = append(names, in.GetName())
		v := given.Get(in.GetName())
		switch {
		case !v.IsNull():
		case in.GetHasDefault():
			v = expr.String(in.GetDefault())
		case in.GetRequired():
			return expr.Value{}, fmt.Errorf("the input `%s` is required", in.GetName())
		case in.GetType() == "boolean":
			v = expr.Bool(false)
		default:
			v = expr.String("")
		}
		typed, err := typedInput(in, v)
		if err != nil {
			return expr.Value{}, err
		}
		out.Set(in.GetName(), typed)
	}
	if o := given.Object(); o != nil {
		for _, p := range o.Pairs() {
			if _, ok := out.Get(p.Key); !ok {
				err := fmt.Errorf("there is no input `%s`", p.Key)
				if hint := diag.DidYouMean(p.Key, names); hint != "" {
					err = fmt.Errorf("%w; %s", err, hint)
				}
				return expr.Value{}, err
			}
		}
	}
	return out.Value(), nil
}

// CallInputs is the inputs context of a called workflow: what the call gives, which must have the input's type, or the default, whose expressions
// see the caller's github, inputs and vars. given is an object. Nothing (null) counts as not given.
func CallInputs(inputs []*planv1.Input, given expr.Value, env *expr.Env) (expr.Value, error) {
	out := expr.NewObject()
	for _, in := range inputs {
		v := given.Get(in.GetName())
		if v.IsNull() && in.GetDefaultValue() != nil {
			var err error
			if v, err = Value(in.GetDefaultValue(), env); err != nil {
				return expr.Value{}, fmt.Errorf("the default of the input `%s`: %w", in.GetName(), err)
			}
		}
		if v.IsNull() && in.GetRequired() {
			return expr.Value{}, fmt.Errorf("the input `%s` is required", in.GetName())
		}
		typed, err := callInput(in, v)
		if err != nil {
			return expr.Value{}, err
		}
		out.Set(in.GetName(), typed)
	}
	return out.Value(), nil
}

func callInput(in *planv1.Input, v expr.Value) (expr.Value, error) {
	want := map[string]expr.Kind{"boolean": expr.KindBool, "number": expr.KindNumber}
	kind, strict := want[in.GetType()]
	switch {
	case v.IsNull() && in.GetType() == "boolean":
		return expr.Bool(false), nil
	case v.IsNull() && in.GetType() == "number":
		return expr.Number(0), nil
	case strict && v.Kind() != kind:
		return expr.Value{}, fmt.Errorf("the input `%s` must be a %s, not `%s`; a text becomes one with fromJSON()", in.GetName(), in.GetType(), clip(v.Text()))
	case strict:
		return v, nil
	case !v.IsPrimitive():
		return expr.Value{}, fmt.Errorf("the input `%s` must be a string, not an %s; wrap it in toJSON()", in.GetName(), strings.ToLower(v.Kind().String()))
	}
	return expr.String(v.Text()), nil
}

func typedInput(in *planv1.Input, v expr.Value) (expr.Value, error) {
	text := v.Text()
	bad := func(want string) (expr.Value, error) {
		return expr.Value{}, fmt.Errorf("the input `%s` must be %s, not `%s`", in.GetName(), want, clip(text))
	}
	switch in.GetType() {
	case "boolean":
		switch {
		case strings.EqualFold(text, "true"):
			return expr.Bool(true), nil
		case strings.EqualFold(text, "false") || text == "":
			return expr.Bool(false), nil
		}
		return bad("true or false")
	case "number":
		if n := expr.ParseNumber(text); n == n && text != "" { // not NaN
			return expr.Number(n), nil
		}
		if text == "" {
			return expr.String(""), nil
		}
		return bad("a number")
	case "choice":
		if text != "" && !slices.Contains(in.GetOptions(), text) {
			return bad("one of " + strings.Join(in.GetOptions(), ", "))
		}
	}
	return expr.String(text), nil
}
