package resolve

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/slipway-ci/slipway/pipeline/expr"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

func TestPermissionsOnlyShrink(t *testing.T) {
	all := func(level string) *planv1.Permissions { return &planv1.Permissions{All: level} }
	named := func(pairs ...string) *planv1.Permissions {
		p := &planv1.Permissions{}
		for i := 0; i < len(pairs); i += 2 {
			p.Scopes = append(p.Scopes, &planv1.Permission{Scope: pairs[i], Level: pairs[i+1]})
		}
		return p
	}
	for name, c := range map[string]struct{ inner, outer, want *planv1.Permissions }{
		"neither says anything": {nil, nil, nil},
		"the outer alone":       {nil, all("read"), all("read")},
		"the inner alone":       {named("contents", "write"), nil, named("contents", "write")},
		"all of all":            {all("write"), all("read"), all("read")},
		"named within all":      {named("contents", "write", "packages", "read"), all("read"), named("contents", "read", "packages", "read")},
		"all within named":      {all("write"), named("contents", "read"), named("contents", "read")},
		"named within named":    {named("contents", "read", "packages", "write"), named("packages", "read", "issues", "write"), named("packages", "read")},
		"nothing within all":    {named(), all("write"), named()},
	} {
		if got := Shrink(c.inner, c.outer); !proto.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

func TestCallInputs(t *testing.T) {
	literal := func(s string) *planv1.Value { return &planv1.Value{Kind: &planv1.Value_Literal{Literal: s}} }
	code := func(s string) *planv1.Value { return &planv1.Value{Kind: &planv1.Value_Expr{Expr: s}} }
	inputs := []*planv1.Input{
		{Name: "text", Type: "string", DefaultValue: literal("so")},
		{Name: "where", Type: "string", DefaultValue: code("github.ref")},
		{Name: "on", Type: "boolean"}, {Name: "n", Type: "number", DefaultValue: code("3")}, {Name: "must", Type: "string", Required: true},
	}
	env := &expr.Env{Contexts: expr.NewObject(expr.Pair{Key: "github", Value: expr.NewObject(expr.Pair{Key: "ref", Value: expr.String("main")}).Value()})}
	for given, want := range map[string]string{
		`{"must":"x"}`: `{"text":"so","where":"main","on":false,"n":3,"must":"x"}`,
		`{"MUST":1.50,"on":true,"n":0,"text":true,"where":null}`: `{"text":"true","where":"main","on":true,"n":0,"must":"1.5"}`,
		`{}`:                      "the input `must` is required",
		`{"must":null}`:           "the input `must` is required",
		`{"must":"x","on":"yes"}`: "the input `on` must be a boolean, not `yes`",
		`{"must":"x","n":"3"}`:    "the input `n` must be a number, not `3`",
		`{"must":[]}`:             "must be a string, not an array",
	} {
		v, err := expr.FromJSON([]byte(given))
		if err != nil {
			t.Fatal(err)
		}
		got, err := CallInputs(inputs, v, env)
		switch {
		case err != nil && !strings.Contains(err.Error(), want):
			t.Errorf("%s: %v, want %q", given, err, want)
		case err == nil && expr.ToJSON(got) != want:
			t.Errorf("%s: %s, want %s", given, expr.ToJSON(got), want)
		}
	}
}
