package engine

import (
	"strings"
	"testing"

	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// TestInputsOfARun: they are checked and typed for the event that gives them, and no other event has any.
func TestInputsOfARun(t *testing.T) {
	plan := &planv1.Plan{Inputs: []*planv1.Input{
		{Name: "level", Type: "choice", Options: []string{"low", "high"}, Required: true},
		{Name: "count", Type: "number", Default: "3", HasDefault: true},
	}}
	for _, c := range []struct{ event, payload, want, err string }{
		{"workflow_dispatch", `{"inputs":{"level":"high"}}`, "high 3", ""},
		{"workflow_dispatch", `{"inputs":{"level":"middle"}}`, "", "must be one of low, high"},
		{"workflow_dispatch", `{"inputs":{"level":"low","count":"many"}}`, "", "must be a number"},
		{"workflow_dispatch", `{"inputs":{"level":"low","lvl":"1"}}`, "", "no input `lvl`"},
		{"workflow_dispatch", "", "", "`level` is required"},
		{"push", `{"inputs":{"level":"high"}}`, " ", ""},
	} {
		contexts, err := Contexts(&statev1.RunDefinition{Event: c.event, EventPayload: c.payload}, plan)
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s %s: %v, want %q", c.event, c.payload, err, c.err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		in := contexts.Value().Get("inputs")
		if got := in.Get("level").Text() + " " + in.Get("count").Text(); got != c.want {
			t.Errorf("%s %s: %q, want %q", c.event, c.payload, got, c.want)
		}
	}
}
