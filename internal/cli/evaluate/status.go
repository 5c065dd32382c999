package evaluate

import (
	"strings"

	"github.com/slipway-ci/slipway/pipeline/expr"
)

// status makes the status functions from the contexts. With job.status they answer as in a step's `if`; else with needs
// as in a job's, where names narrow success and failure; else as in the first step of a job: nothing has failed.
func status(contexts *expr.Object) map[string]expr.Function {
	needs, _ := contexts.Get("needs")
	job, _ := contexts.Get("job")
	state := job.Get("status")
	count := func(names []expr.Value, result string) (matching, all int) {
		for _, p := range needs.Object().Pairs() {
			if len(names) > 0 && !named(names, p.Key) {
				continue
			}
			all++
			if strings.EqualFold(p.Value.Get("result").Text(), result) {
				matching++
			}
		}
		return matching, all
	}
	is := func(result string, ofNeeds func(names []expr.Value) bool) expr.Function {
		return func(names []expr.Value) (expr.Value, error) {
			switch {
			case state.Kind() == expr.KindString && len(names) == 0:
				return expr.Bool(strings.EqualFold(state.Text(), result)), nil
			case needs.Object() != nil:
				return expr.Bool(ofNeeds(names)), nil
			}
			return expr.Bool(result == "success" && len(names) == 0), nil
		}
	}
	atLeastOne := func(result string) func([]expr.Value) bool {
		return func(names []expr.Value) bool { n, _ := count(names, result); return n > 0 }
	}
	return map[string]expr.Function{
		"always": func([]expr.Value) (expr.Value, error) { return expr.Bool(true), nil },
		"success": is("success", func(names []expr.Value) bool {
			n, all := count(names, "success")
			return n == all && all >= len(names)
		}),
		"failure":   is("failure", atLeastOne("failure")),
		"cancelled": is("cancelled", atLeastOne("cancelled")),
	}
}

func named(names []expr.Value, key string) bool {
	for _, n := range names {
		if strings.EqualFold(n.Text(), key) {
			return true
		}
	}
	return false
}
