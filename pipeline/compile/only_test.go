package compile

import (
	"errors"
	"strings"
	"testing"

	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

func ids(p *planv1.Plan) string {
	var out []string
	for _, j := range p.GetJobs() {
		out = append(out, j.GetId())
	}
	return strings.Join(out, " ")
}

func TestOnly(t *testing.T) {
	src := `on: push
jobs:
  lint: {runs-on: x, steps: [{uses: actions/checkout@v4}]}
  build: {runs-on: x, steps: [{run: a}]}
  test: {runs-on: x, needs: build, steps: [{uses: actions/checkout@v5}]}
  Deploy: {runs-on: x, needs: [test, build], steps: [{run: a}]}
`
	plan, found := Compile("x.yml", []byte(src), Options{})
	if plan == nil {
		t.Fatal(found)
	}
	for jobs, want := range map[string]string{
		"": "lint build test Deploy", "build": "build", "test": "build test", "deploy": "build test Deploy", "LINT,build": "lint build",
	} {
		got, err := Only(plan, strings.FieldsFunc(jobs, func(r rune) bool { return r == ',' }))
		if err != nil || ids(got) != want {
			t.Errorf("%s: %q, %v; want %q", jobs, ids(got), err, want)
		}
	}
	got, err := Only(plan, []string{"test"})
	if err != nil || len(got.GetAliases()) != 1 || got.GetAliases()[0].GetUses() != "actions/checkout@v5" || len(plan.GetAliases()) != 2 || ids(plan) != "lint build test Deploy" {
		t.Errorf("aliases %v, %v; the plan it was made of: %v", got.GetAliases(), err, plan)
	}
	var unknown *UnknownJobError
	if _, err := Only(plan, []string{"biuld"}); !errors.As(err, &unknown) || !strings.Contains(err.Error(), "did you mean `build`") {
		t.Error(err)
	}
	if _, err := Only(plan, []string{"zzzzzz"}); err == nil || !strings.Contains(err.Error(), "it has lint, build, test, Deploy") {
		t.Error(err)
	}
}

// TestDraft: what can't run yet is in a draft, and nothing of a wrong file.
func TestDraft(t *testing.T) {
	src := "on: push\njobs:\n  a:\n    runs-on: x\n    environment: prod\n    steps:\n      - uses: someone/thing@v1\n        with: {a: b}\n      - run: a\n"
	plan, found := Draft("x.yml", []byte(src), Options{})
	if plan == nil || !found.HasErrors() || found.Invalid() || len(found.Unsupported()) != 2 {
		t.Fatal(plan, found)
	}
	if s := plan.GetJobs()[0].GetSteps(); len(s) != 2 || s[0].GetUnsupported().GetUses() != "someone/thing@v1" || s[0].GetUnsupported().GetWith()[0].GetName() != "a" || s[1].GetRun() == nil {
		t.Error(s)
	}
	if plan, _ := Compile("x.yml", []byte(src), Options{}); plan != nil {
		t.Error("it compiled")
	}
	if plan, found := Draft("x.yml", []byte(strings.Replace(src, "runs-on", "run-on", 1)), Options{}); plan != nil || !found.Invalid() {
		t.Error("a wrong file has a draft")
	}
}
