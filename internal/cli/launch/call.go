package launch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/internal/cli/exit"
	"github.com/slipway-ci/slipway/pipeline/compile"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// onlyCall is the one event of a workflow that nothing but another workflow starts.
const onlyCall = "workflow_call"

// notCalled refuses a named file that only other workflows start: run by itself, its inputs would be empty. It says which ones call it.
func (p *Prepared) notCalled(ctx context.Context, compiler Compile) error {
	for _, plan := range p.Plans {
		if !slices.Equal(plan.GetEvents(), []string{onlyCall}) {
			continue
		}
		advice := "no workflow here calls it; to run it by itself, add `workflow_dispatch:` to its `on:`"
		if callers := p.callers(ctx, plan.GetPath(), compiler); len(callers) > 0 {
			advice = "run what calls it: " + strings.Join(callers, ", ")
		}
		return exit.Invalidf("%s runs only when another workflow calls it, which gives it its inputs (its `on:` is `workflow_call` alone); %s", plan.GetPath(), advice)
	}
	return nil
}

// callers are the workflows of the tree that call one, directly or through others. What can't be read or compiled calls nothing.
func (p *Prepared) callers(ctx context.Context, called string, compiler Compile) []string {
	all, err := workflowsOf(ctx, p.Tree)
	if err != nil {
		return nil
	}
	read := func(path string) ([]byte, error) { return p.Tree.ReadFile(ctx, path, MaxWorkflow) }
	var out []string
	for _, w := range all {
		plan, _ := compiler(w.Path, w.Source, read)
		if slices.Equal(plan.GetEvents(), []string{onlyCall}) {
			continue // calls it, and can't be started either
		}
		if slices.ContainsFunc(plan.GetWorkflows(), func(c *planv1.Workflow) bool { return c.GetPath() == called }) {
			out = append(out, w.Path)
		}
	}
	return out
}

// insideCall says of a job that is not in a plan, but in a workflow that the plan calls, what to name instead. Any other error stays.
func insideCall(plan *planv1.Plan, err error) string {
	var unknown *compile.UnknownJobError
	if !errors.As(err, &unknown) {
		return err.Error()
	}
	for _, j := range plan.GetJobs() {
		rest, inside := strings.CutPrefix(strings.ToLower(unknown.Job), strings.ToLower(j.GetId())+".")
		switch {
		case !inside:
		case j.GetCall() != nil:
			return fmt.Sprintf("`%s` is a job of the workflow that `%s` calls, and a call runs as a whole: name `%s`", rest, j.GetId(), j.GetId())
		default:
			return fmt.Sprintf("`%s` looks like one leg of `%s`, and the legs of a matrix are planned together: name `%s`", unknown.Job, j.GetId(), j.GetId())
		}
	}
	return err.Error()
}
