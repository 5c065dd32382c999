package runner

import (
	"testing"

	"github.com/slipway-ci/slipway/agent/commands"
	"github.com/slipway-ci/slipway/pipeline/resolve"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// TestMissingThingsAreEmpty: a context that an assignment leaves out has no members, which is no error.
func TestMissingThingsAreEmpty(t *testing.T) {
	a := &Attempt{a: &fleetv1.Assignment{Job: &planv1.Job{Id: "j"}}}
	if err := a.scope.init(a); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"github", "needs", "inputs", "vars", "strategy", "secrets"} {
		v := &planv1.Value{Kind: &planv1.Value_Expr{Expr: "format('[{0}]', " + name + ".nothing)"}}
		if got, err := resolve.String(v, a.scope.job()); err != nil || got != "[]" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// TestOutputsOfCommandsAndFiles: what a step writes into GITHUB_OUTPUT goes over what it prints.
func TestOutputsOfCommandsAndFiles(t *testing.T) {
	x := ending{values: stepValues{Outputs: []commands.Pair{{Name: "x", Value: "file"}}, State: []commands.Pair{{Name: "s", Value: "file"}}}}
	var printed []commands.Command
	for _, line := range []string{"::set-output name=x::printed", "::set-output name=y::printed", "::save-state name=s::printed"} {
		c, ok := commands.ParseLine(line)
		if !ok {
			t.Fatal(line)
		}
		printed = append(printed, c)
	}
	(&Attempt{}).fromOutput(printed, &x)
	got := map[string]string{}
	for _, p := range append(x.values.Outputs, x.values.State...) {
		got[p.Name] = p.Value
	}
	if got["x"] != "file" || got["y"] != "printed" || got["s"] != "file" {
		t.Errorf("%v", got)
	}
}
