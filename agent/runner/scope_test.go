package runner

import (
	"testing"

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
