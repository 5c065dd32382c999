package runner

import (
	"github.com/slipway-ci/slipway/agent/native"
	"github.com/slipway-ci/slipway/pipeline/unfold"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

type kind int

const (
	kindMain kind = iota
	// kindAction is a composite action: it runs while the entries inside it do.
	kindAction
	kindPost
)

// entry is one thing that an attempt runs, by number: the plan's steps from 1, those of composite actions behind the step that uses them, then post
// steps. "Set up job" (0) and "Complete job" (the last number) are not entries: they are phases.
type entry struct {
	number uint32
	kind   kind
	step   *planv1.Step
	// of is the number of the main step whose post step this is.
	of uint32
	// within is the number of the composite action that it belongs to; 0 is the job.
	within uint32
	// last is the number of the last entry inside it, of a composite action.
	last uint32
}

// entriesOf lists a job's steps, and after them their post steps, last in first out.
func entriesOf(job *planv1.Job, natives map[string]native.Action) []entry {
	var all []entry
	for _, s := range unfold.Steps(job.GetSteps()) {
		e := entry{number: s.Number, step: s.Step, within: s.Within, last: s.Last}
		if s.GetAction().GetComposite() != nil {
			e.kind = kindAction
		}
		all = append(all, e)
	}
	mains := len(all)
	for i := range mains {
		main := all[mains-1-i]
		_, isNative := natives[main.step.GetNative().GetName()].(native.PostAction)
		if isNative || main.step.GetAction().GetNode().GetPost() != "" {
			all = append(all, entry{number: uint32(len(all) + 1), kind: kindPost, step: main.step, of: main.number, within: main.within})
		}
	}
	return all
}

// completeNumber is the number of "Complete job".
func (t *Attempt) completeNumber() uint32 { return uint32(len(t.entries) + 1) }

// entry returns the entry with a number.
func (t *Attempt) entry(n uint32) (entry, bool) {
	if n < 1 || int(n) > len(t.entries) {
		return entry{}, false
	}
	return t.entries[n-1], true
}
