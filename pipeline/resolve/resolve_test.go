package resolve

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/pipeline/expr"
	"github.com/slipway-ci/slipway/pipeline/matrix"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

func lit(s string) *planv1.Value { return &planv1.Value{Kind: &planv1.Value_Literal{Literal: s}} }

func ex(s string) *planv1.Value {
	return &planv1.Value{Kind: &planv1.Value_Expr{Expr: s}, Position: &planv1.Position{Line: 7, Column: 3}}
}

func env(t *testing.T) *expr.Env {
	t.Helper()
	v, err := expr.FromJSON([]byte(`{"matrix":{"n":20,"list":["a","b",""],"m":{"os":["x","y"]}},"inputs":{"t":"true"}}`))
	if err != nil {
		t.Fatal(err)
	}
	return &expr.Env{Contexts: v.Object()}
}

func TestScalars(t *testing.T) {
	e := env(t)
	for want, v := range map[string]*planv1.Value{"": nil, "x": lit("x"), "20": ex("matrix.n"), "v20!": ex("format('v{0}!', matrix.n)")} {
		if got, err := String(v, e); err != nil || got != want {
			t.Errorf("%v: %q %v", v, got, err)
		}
	}
	for _, c := range []struct {
		v    *planv1.Value
		def  bool
		want bool
	}{{nil, true, true}, {lit("false"), true, false}, {lit("true"), false, true}, {ex("matrix.n == 20"), false, true}, {ex("inputs.t"), false, true}, {ex("matrix.none"), true, true}} {
		if got, err := Bool(c.v, e, c.def); err != nil || got != c.want {
			t.Errorf("%v: %v %v", c.v, got, err)
		}
	}
	for _, c := range []struct {
		v    *planv1.Value
		want float64
	}{{nil, 360}, {lit("5.5"), 5.5}, {ex("matrix.n"), 20}, {ex("'7'"), 7}, {ex("matrix.none"), 360}} {
		if got, err := TimeoutMinutes(c.v, e, 360); err != nil || got != c.want {
			t.Errorf("%v: %v %v", c.v, got, err)
		}
	}
}

func TestScalarErrors(t *testing.T) {
	e := env(t)
	check := func(err error, want string) {
		t.Helper()
		var re *Error
		if !errors.As(err, &re) || re.Line != 7 || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	_, err := String(ex("matrix.list"), e)
	check(err, "line 7, column 3: a string is needed, and the expression gave an array")
	_, err = Bool(ex("matrix.n"), e, false)
	check(err, "true or false is needed, not `20`")
	_, err = Number(ex("'x'"), e, 0)
	check(err, "a number is needed, not `x`")
	_, err = TimeoutMinutes(ex("0 - 1"), e, 0)
	check(err, "bad expression")
	_, err = TimeoutMinutes(ex("-1"), e, 0)
	check(err, "greater than 0")
	_, err = String(ex("secrets.x"), e)
	check(err, "there is no context `secrets` here")
}

func TestLists(t *testing.T) {
	e := env(t)
	got, err := Strings([]*planv1.Value{lit("self-hosted"), ex("matrix.list"), ex("matrix.n")}, e)
	if err != nil || fmt.Sprint(got) != "[self-hosted a b 20]" {
		t.Error(got, err)
	}
	if _, err := Strings([]*planv1.Value{ex("matrix")}, e); err == nil {
		t.Error("an object became a label")
	}
	pairs, err := Entries([]*planv1.Entry{{Name: "A", Value: lit("1")}, {Name: "B", Value: ex("matrix.n")}}, e)
	if err != nil || fmt.Sprint(pairs) != "[{A 1} {B 20}]" {
		t.Error(pairs, err)
	}
	if _, err := Entries([]*planv1.Entry{{Name: "A", Value: ex("matrix")}}, e); err == nil || !strings.Contains(err.Error(), "A: ") {
		t.Error(err)
	}
}

func TestCondition(t *testing.T) {
	e := env(t)
	e.Functions = map[string]expr.Function{"success": func([]expr.Value) (expr.Value, error) { return expr.Bool(true), nil }}
	for src, want := range map[string]bool{"": true, "success()": true, "success() && (matrix.n == 21)": false, "Success() && (matrix.n)": true} {
		if got, err := Condition(src, e); err != nil || got != want {
			t.Errorf("%s: %v %v", src, got, err)
		}
	}
	if _, err := Condition("fromJSON('')", e); err == nil {
		t.Error("an error held")
	}
}

func TestStrategy(t *testing.T) {
	e := env(t)
	s, err := Plan(nil, e)
	if err != nil || len(s.Legs) != 1 || !s.Legs[0].Values.IsNull() || !s.FailFast || s.MaxParallel != 0 || InstanceID("j", 0, nil) != "j" {
		t.Fatal(s, err)
	}
	static := &planv1.Strategy{Legs: []string{`{"a":1}`, `{"a":2}`}, LegLabels: []string{"1", "2"}, FailFast: lit("false"), MaxParallel: ex("matrix.n")}
	s, err = Plan(static, e)
	if err != nil || len(s.Legs) != 2 || s.Legs[1].Label != "2" || s.FailFast || s.MaxParallel != 20 || InstanceID("j", 1, static) != "j.1" {
		t.Fatal(s, err)
	}
	dynamic := &planv1.Strategy{Matrix: ex("matrix.m")}
	s, err = Plan(dynamic, e)
	if err != nil || len(s.Legs) != 2 || s.Legs[1].Values.Get("os").Text() != "y" || InstanceID("j", 1, dynamic) != "j.1" {
		t.Fatal(s, err)
	}
	for want, bad := range map[string]*planv1.Strategy{
		"strategy.matrix: it must be an object": {Matrix: ex("matrix.n")},
		"strategy.max-parallel: a whole number": {MaxParallel: ex("-1")},
		"strategy.fail-fast":                    {FailFast: ex("'x'")},
	} {
		if _, err := Plan(bad, e); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestJobName(t *testing.T) {
	e := env(t)
	leg := matrix.Leg{Label: "20, x"}
	for want, job := range map[string]*planv1.Job{
		"test (20, x)":  {Id: "test"},
		"Tests (20, x)": {Id: "test", Name: lit("Tests")},
		"on 20":         {Id: "test", Name: ex("format('on {0}', matrix.n)")},
	} {
		if got, err := JobName(job, leg, e); err != nil || got != want {
			t.Errorf("%q %v, want %q", got, err, want)
		}
	}
}

func TestInputs(t *testing.T) {
	plan := &planv1.Plan{Inputs: []*planv1.Input{
		{Name: "level", Type: "choice", Options: []string{"low", "high"}, Default: "low", HasDefault: true},
		{Name: "dry", Type: "boolean"}, {Name: "n", Type: "number", Default: "3", HasDefault: true}, {Name: "who", Type: "string", Required: true},
	}}
	given := func(text string) expr.Value {
		v, err := expr.FromJSON([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	got, err := Inputs(plan, given(`{"who":"me","DRY":"true"}`))
	if err != nil || expr.ToJSON(got) != `{"level":"low","dry":true,"n":3,"who":"me"}` {
		t.Error(expr.ToJSON(got), err)
	}
	for text, want := range map[string]string{
		`{}`:                        "`who` is required",
		`{"who":"x","level":"mid"}`: "one of low, high, not `mid`",
		`{"who":"x","dry":"maybe"}`: "true or false",
		`{"who":"x","n":"many"}`:    "a number",
		`{"who":"x","levle":"low"}`: "there is no input `levle`; did you mean `level`?",
	} {
		if _, err := Inputs(plan, given(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}
