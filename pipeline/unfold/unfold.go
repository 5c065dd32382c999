// Package unfold numbers the steps of a job as an attempt runs and reports them: from 1, and behind a step that is a composite action its own steps.
package unfold

import planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"

// Step is one step with its number.
type Step struct {
	*planv1.Step
	Number uint32
	// Within is the number of the composite action that it is a step of; 0 for a step of the job.
	Within uint32
	// Last is the number of the last step inside it; its own if it is no composite action.
	Last uint32
}

// Steps returns a job's steps in the order of their numbers: number n is at n-1.
func Steps(list []*planv1.Step) []Step { return add(nil, list, 0) }

func add(all []Step, list []*planv1.Step, within uint32) []Step {
	for _, s := range list {
		at := len(all)
		all = append(all, Step{Step: s, Number: uint32(at + 1), Within: within}) //nolint:gosec // the compiler bounds them
		all = add(all, s.GetAction().GetComposite().GetSteps(), all[at].Number)
		all[at].Last = uint32(len(all)) //nolint:gosec // as above
	}
	return all
}
