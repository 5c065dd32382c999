package images

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/slipway-ci/slipway/coordinator/config"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	"github.com/slipway-ci/slipway/pipeline/diag"
	"github.com/slipway-ci/slipway/pipeline/expr"
	"github.com/slipway-ci/slipway/pipeline/resolve"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// atOnce is how many registries are asked at the same time for one plan.
const atOnce = 8

// Planner fills a plan's table of images.
type Planner struct {
	resolver *Resolver
	runners  map[string]config.Runner
}

// NewPlanner returns a planner on the configured runners.
func NewPlanner(r *Resolver, runners map[string]config.Runner) *Planner {
	return &Planner{resolver: r, runners: runners}
}

// use is one place of a plan that needs an image.
type use struct {
	name  string // as the plan says it: the key in its table
	image string // what the name means
	auth  Credentials
	pos   *planv1.Position
	// runner: the configuration says the image, not the workflow.
	runner bool
	// perhaps: a label that another job computes may mean it. If it can't be had, only a job that then needs it fails.
	perhaps bool
}

// Fill sets plan.Images: for every job's container and services under the name that the file uses, for every `runs-on` of a job without a
// container under its label and under the name of the label's image. The contexts are those known at submit (github, inputs, vars, and secrets
// for credentials: see SecretNames); jobs add their matrix. Findings are the file's mistakes; the error is ImageUnavailable, or the context's.
func (p *Planner) Fill(ctx context.Context, plan *planv1.Plan, contexts *expr.Object) (diag.List, error) {
	if _, given := contexts.Get("secrets"); !given {
		contexts = contexts.With(expr.Pair{Key: "secrets", Value: expr.NewObject().Value()}) // none is set
	}
	f := finder{planner: p, path: plan.GetPath(), contexts: contexts, workflows: map[string]*planv1.Workflow{}, budget: maxJobs, jobs: maxJobs}
	for _, w := range plan.GetWorkflows() {
		f.workflows[w.GetPath()] = w
	}
	for _, job := range plan.GetJobs() {
		f.job(job)
	}
	if f.found.HasErrors() {
		return f.found.Sort(), nil
	}
	pinned, err := p.resolveAll(ctx, plan.GetPath(), f.uses)
	if err != nil {
		return nil, err
	}
	if plan.Images == nil {
		plan.Images = map[string]string{}
	}
	for _, u := range f.uses {
		if ref := pinned[u.question()]; ref != "" {
			plan.Images[u.name] = ref
		}
	}
	return nil, nil
}

// resolveAll asks for every image once. Of several that fail, the one that stands first in the file is the error.
func (p *Planner) resolveAll(ctx context.Context, path string, uses []use) (map[question]string, error) {
	first := map[question]use{}
	var mu sync.Mutex
	pinned, failed := map[question]string{}, map[question]error{}
	for _, u := range uses {
		q := u.question()
		if u.runner && u.image == config.NoImage {
			pinned[q] = u.image // nothing to ask for
			continue
		}
		if old, ok := first[q]; !ok || old.perhaps && !u.perhaps {
			first[q] = u
		}
	}
	var g errgroup.Group
	g.SetLimit(atOnce)
	for image := range first {
		g.Go(func() error {
			ref, err := p.resolver.ResolveAs(ctx, image.image, image.auth)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil && first[image].perhaps && ctx.Err() == nil:
			case err != nil:
				failed[image] = err
			default:
				pinned[image] = ref
			}
			return nil
		})
	}
	_ = g.Wait()
	if len(failed) == 0 {
		return pinned, nil
	}
	image := slices.MinFunc(slices.Collect(maps.Keys(failed)), func(a, b question) int {
		x, y := first[a].pos, first[b].pos
		return cmp.Or(cmp.Compare(x.GetLine(), y.GetLine()), cmp.Compare(x.GetColumn(), y.GetColumn()), cmp.Compare(a.image, b.image))
	})
	err, pos := failed[image], first[image].pos
	if rpcerr.ReasonOf(err) == "" {
		return nil, err
	}
	if pos.GetLine() > 0 {
		path = fmt.Sprintf("%s:%d:%d", path, pos.GetLine(), pos.GetColumn())
	}
	return nil, rpcerr.New(rpcerr.ReasonOf(err), "%s: %s", path, rpcerr.Message(err))
}

// question is what a registry is asked, and as whom.
type question struct {
	image string
	auth  Credentials
}

func (u use) question() question { return question{u.image, u.auth} }

// finder collects what a plan uses.
type finder struct {
	planner  *Planner
	path     string
	contexts *expr.Object
	// unknown inputs of a called workflow, lower-case: another job's output makes them.
	unknown   map[string]bool
	workflows map[string]*planv1.Workflow
	// budget is how many calls are still followed, jobs how many other jobs are still looked at, each leg counted; below 0 it was said.
	budget, jobs int
	uses         []use
	found        diag.List
}

func (f *finder) fail(pos *planv1.Position, code, message, hint string) {
	f.found = append(f.found, diag.Diagnostic{Path: f.path, Line: int(pos.GetLine()), Column: int(pos.GetColumn()), Code: code, Message: message, Hint: hint})
}

func (f *finder) job(job *planv1.Job) {
	if job.GetCall() != nil {
		f.call(job)
		return
	}
	var values []*planv1.Value
	late := f.late(job)
	if !late {
		values = append(values, job.GetRunsOn()...)
	}
	containers := []*planv1.Container{job.GetContainer()}
	for _, s := range job.GetServices() {
		containers = append(containers, s.GetContainer())
	}
	for _, c := range containers {
		if c != nil {
			values = append(values, c.GetImage(), c.GetUsername(), c.GetPassword())
		}
		if !f.known(c) {
			return
		}
	}
	for _, s := range job.GetSteps() {
		if s.GetImage() != nil {
			values = append(values, s.GetImage())
		}
	}
	for _, env := range f.envs(job, values) {
		if f.jobs < 0 {
			return
		}
		if f.jobs--; f.jobs < 0 {
			f.fail(job.GetPosition(), "too-many-jobs", fmt.Sprintf("the run would have more than %d jobs, each leg of a matrix counted", maxJobs), "split the workflow")
			return
		}
		for _, s := range job.GetSteps() {
			if s.GetImage() != nil {
				f.image(&planv1.Container{Image: s.GetImage()}, env)
			}
		}
		hasContainer := f.image(job.GetContainer(), env)
		if !late {
			f.runsOn(job, env, hasContainer)
		}
		for _, s := range job.GetServices() {
			f.image(s.GetContainer(), env)
		}
	}
}

// late says whether another job computes the job's label. Which one it is will be seen; their images are few, so all are pinned.
func (f *finder) late(job *planv1.Job) bool {
	needs := func(v *planv1.Value) bool { return slices.Contains(f.contextsOf(v), "needs") }
	ofMatrix := func(v *planv1.Value) bool {
		names := f.contextsOf(v)
		return slices.Contains(names, "matrix") || slices.Contains(names, "strategy")
	}
	m := job.GetStrategy().GetMatrix()
	if !slices.ContainsFunc(job.GetRunsOn(), needs) && (m == nil || !needs(m) || !slices.ContainsFunc(job.GetRunsOn(), ofMatrix)) {
		return false
	}
	for _, label := range slices.Sorted(maps.Keys(f.planner.runners)) {
		image := f.planner.runners[label].Image
		for _, name := range []string{label, image} {
			f.uses = append(f.uses, use{name: name, image: image, pos: job.GetRunsOn()[0].GetPosition(), runner: true, perhaps: true})
		}
	}
	return true
}

// envs returns what the values see: one environment, or one for each leg if a value needs the matrix.
func (f *finder) envs(job *planv1.Job, values []*planv1.Value) []*expr.Env {
	needsMatrix := false
	for _, v := range values {
		for _, name := range f.contextsOf(v) {
			switch name {
			case "needs":
				f.fail(v.GetPosition(), "dynamic-image", "an image that depends on another job's output is not supported: images are pinned when the run is submitted",
					"use a matrix that is written in the file, or an input")
				return nil
			case "matrix", "strategy":
				needsMatrix = true
			}
		}
	}
	if !needsMatrix {
		return []*expr.Env{{Contexts: f.contexts}}
	}
	if m := job.GetStrategy().GetMatrix(); m != nil && slices.Contains(f.contextsOf(m), "needs") {
		f.fail(m.GetPosition(), "dynamic-image", "a matrix that another job's output makes can't choose images: images are pinned when the run is submitted", "write these axes in the file")
		return nil
	}
	legs, err := resolve.Legs(job.GetStrategy(), &expr.Env{Contexts: f.contexts})
	if err != nil {
		f.invalid(job.GetPosition(), "strategy", err)
		return nil
	}
	var envs []*expr.Env
	for _, leg := range legs {
		contexts := expr.NewObject()
		for _, pair := range f.contexts.Pairs() {
			contexts.Set(pair.Key, pair.Value)
		}
		contexts.Set("matrix", leg.Values)
		envs = append(envs, &expr.Env{Contexts: contexts})
	}
	return envs
}

// contextsOf names the contexts that a value's expression uses; needs also for an input that depends on it.
func (f *finder) contextsOf(v *planv1.Value) []string {
	e, err := expr.ParseCompiled(v.GetExpr())
	if v.GetExpr() == "" || err != nil {
		return nil // a bad expression fails where it is evaluated
	}
	var names []string
	for _, r := range e.References() {
		names = append(names, r.Context)
		if r.Context == "inputs" && len(f.unknown) > 0 && (len(r.Path) == 0 || f.unknown[strings.ToLower(r.Path[0])]) {
			names = append(names, "needs")
		}
	}
	return names
}

func (f *finder) invalid(pos *planv1.Position, what string, err error) {
	var at *resolve.Error
	if errors.As(err, &at) && at.Line > 0 {
		pos, err = &planv1.Position{Line: at.Line, Column: at.Column}, at.Err
	}
	f.fail(pos, "bad-value", fmt.Sprintf("%s: %v", what, err), "")
}

// image adds a container's; an empty one means none, as GitHub has it.
func (f *finder) image(c *planv1.Container, env *expr.Env) bool {
	if c == nil {
		return false
	}
	image, err := resolve.String(c.GetImage(), env)
	if err != nil {
		f.invalid(c.GetImage().GetPosition(), "image", err)
		return true
	}
	if image == "" {
		return false
	}
	auth, ok := f.credentials(c, env)
	if ok {
		f.uses = append(f.uses, use{name: image, image: image, auth: auth, pos: c.GetImage().GetPosition()})
	}
	return true
}

func (f *finder) runsOn(job *planv1.Job, env *expr.Env, hasContainer bool) {
	labels, err := resolve.Strings(job.GetRunsOn(), env)
	pos := job.GetPosition()
	if len(job.GetRunsOn()) > 0 {
		pos = job.GetRunsOn()[0].GetPosition()
	}
	if err != nil {
		f.invalid(pos, "runs-on", err)
		return
	}
	if len(labels) == 0 && job.GetRunsOnGroup() != nil && hasContainer {
		return
	}
	for _, label := range labels {
		runner, ok := f.planner.runners[label]
		if !ok {
			continue
		}
		if !hasContainer {
			f.uses = append(f.uses, use{name: label, image: runner.Image, pos: pos, runner: true}, use{name: runner.Image, image: runner.Image, pos: pos, runner: true})
		}
		return
	}
	known := slices.Sorted(maps.Keys(f.planner.runners))
	hint := diag.DidYouMean(strings.Join(labels, " "), known)
	if hint == "" {
		hint = "known here: " + strings.Join(known, ", ") + "; others are added under `runners:` in the coordinator's configuration"
	}
	f.fail(pos, "unknown-runner", fmt.Sprintf("this coordinator has no runner for `runs-on: %s`", strings.Join(labels, ", ")), hint)
}
