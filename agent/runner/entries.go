package runner

import (
	"github.com/slipway-ci/slipway/agent/native"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

type kind int

const (
	kindMain kind = iota
	kindPost
)

// entry is one thing that an attempt runs, by number: the plan's steps from 1, then post steps. "Set up job" (0) and
// "Complete job" (the last number) are not entries: they are phases.
type entry struct {
	number uint32
	kind   kind
	step   *planv1.Step
	// of is the number of the main step whose post step this is.
	of uint32
}

// entriesOf lists a job's steps, and after them their post steps, last in first out.
func entriesOf(job *planv1.Job, natives map[string]native.Action) []entry {
	var all []entry
	for i, s := range job.GetSteps() {
		all = append(all, entry{number: uint32(i + 1), step: s})
	}
	for i := len(job.GetSteps()) - 1; i >= 0; i-- {
		s := job.GetSteps()[i]
		if _, ok := natives[s.GetNative().GetName()].(native.PostAction); ok {
			all = append(all, entry{number: uint32(len(all) + 1), kind: kindPost, step: s, of: uint32(i + 1)})
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
