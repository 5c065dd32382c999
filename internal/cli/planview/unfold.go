package planview

import (
	"fmt"
	"slices"

	"github.com/slipway-ci/slipway/pipeline/diag"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// mostUnfolded bounds the jobs of called workflows that are shown: small files can call one another for very many.
const mostUnfolded = 2000

// unfolder puts the jobs of called workflows in the place of their calls.
type unfolder struct {
	in        Input
	decider   *decider
	workflows map[string]*planv1.Workflow
	left      int
	// levels are the lists of jobs that were made of each file.
	levels map[string][]level
}

// level is the jobs of one workflow, at one place.
type level struct {
	plans []*planv1.Job
	jobs  []*Job
}

func newUnfolder(in Input) *unfolder {
	u := &unfolder{in: in, decider: newDecider(in.Event), workflows: map[string]*planv1.Workflow{}, left: mostUnfolded, levels: map[string][]level{}}
	for _, w := range in.Plan.GetWorkflows() {
		u.workflows[w.GetPath()] = w
	}
	return u
}

// jobs are those of the file at path; caller is the job that calls it, nil for none.
func (u *unfolder) jobs(path string, plans []*planv1.Job, caller *Job) []*Job {
	out := []*Job{}
	for _, j := range plans {
		out = append(out, job(u.in, u.decider, j))
	}
	u.decider.skips(plans, out)
	for _, j := range out {
		if caller != nil {
			j.adopt(caller)
		}
	}
	u.levels[path] = append(u.levels[path], level{plans, out})
	for i, j := range out {
		w := u.workflows[plans[i].GetCall().GetPath()]
		if w == nil {
			continue
		}
		if u.left -= len(w.GetJobs()); u.left < 0 {
			j.NotShown = fmt.Sprintf("the calls of this file lead to more than %d jobs", mostUnfolded)
			continue
		}
		j.Jobs = u.jobs(w.GetPath(), w.GetJobs(), j)
	}
	return out
}

// adopt makes a job one of a call's.
func (j *Job) adopt(caller *Job) {
	title := j.ID
	if j.Name != "" {
		title = j.Name
	}
	above := caller.ID
	if caller.Name != "" {
		above = caller.Name
	}
	j.Name = above + " / " + title
	j.ID = caller.ID + "." + j.ID
	needs := make([]string, len(j.Needs))
	for i, n := range j.Needs {
		needs[i] = caller.ID + "." + n
	}
	j.Needs = needs
	if caller.Skipped != "" {
		j.Skipped = "its call is skipped"
	}
}

// place puts a finding of what is not supported at the step or job that it is about: the last that begins before it, and is not less indented.
func (l level) place(f diag.Diagnostic) {
	at := uint32(max(f.Line, 0))       //nolint:gosec // a line of a file of a megabyte
	column := uint32(max(f.Column, 0)) //nolint:gosec // as above
	for i, j := range slices.Backward(l.plans) {
		if j.GetPosition().GetLine() > at {
			continue
		}
		for k, s := range slices.Backward(j.GetSteps()) {
			if s.GetPosition().GetLine() <= at && s.GetPosition().GetColumn() <= column {
				l.jobs[i].Steps[k].Unsupported = append(l.jobs[i].Steps[k].Unsupported, f.Message)
				return
			}
		}
		l.jobs[i].Unsupported = append(l.jobs[i].Unsupported, f.Message)
		return
	}
}
