package compile

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/slipway-ci/slipway/pipeline/diag"
	"github.com/slipway-ci/slipway/pipeline/unfold"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// UnknownJobError says that a plan has no job of that id.
type UnknownJobError struct {
	Job, Path string
	// Hint is the nearest id, or all of them.
	Hint string
}

// Error names the job, the workflow and the hint.
func (e *UnknownJobError) Error() string {
	return fmt.Sprintf("%s has no job `%s`; %s", e.Path, e.Job, e.Hint)
}

// Only returns the plan with these jobs and all that they need, directly or through others. Ids match in any case. The error is an *UnknownJobError.
func Only(plan *planv1.Plan, jobs []string) (*planv1.Plan, error) {
	if len(jobs) == 0 {
		return plan, nil
	}
	index := map[string]*planv1.Job{}
	var ids []string
	for _, j := range plan.GetJobs() {
		index[strings.ToLower(j.GetId())] = j
		ids = append(ids, j.GetId())
	}
	keep := map[string]bool{}
	queue := slices.Clone(jobs)
	for at := 0; at < len(queue); at++ {
		id := strings.ToLower(queue[at])
		j := index[id]
		if j == nil {
			return nil, unknownJob(plan.GetPath(), queue[at], ids)
		}
		if !keep[id] {
			keep[id] = true
			queue = append(queue, j.GetNeeds()...)
		}
	}
	out, ok := proto.Clone(plan).(*planv1.Plan)
	if !ok {
		return plan, nil // a clone is of its original's type
	}
	out.Jobs = slices.DeleteFunc(out.Jobs, func(j *planv1.Job) bool { return !keep[strings.ToLower(j.GetId())] })
	used := map[string]bool{}
	for _, j := range out.Jobs {
		for _, s := range unfold.Steps(j.GetSteps()) {
			used[s.GetNative().GetUses()] = true
		}
	}
	for _, w := range out.Workflows {
		for _, j := range w.GetJobs() {
			for _, s := range unfold.Steps(j.GetSteps()) {
				used[s.GetNative().GetUses()] = true
			}
		}
	}
	out.Aliases = slices.DeleteFunc(out.Aliases, func(a *planv1.Alias) bool { return !used[a.GetUses()] })
	return out, nil
}

func unknownJob(path, job string, ids []string) error {
	hint := diag.DidYouMean(job, ids)
	if hint == "" {
		const most = 20
		listed := strings.Join(ids[:min(len(ids), most)], ", ")
		if len(ids) > most {
			listed += " …"
		}
		hint = "it has " + listed
	}
	return &UnknownJobError{Job: job, Path: path, Hint: hint}
}
