package engine

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/slipway-ci/slipway/pipeline/expr"
	"github.com/slipway-ci/slipway/pipeline/graph"
	"github.com/slipway-ci/slipway/pipeline/matrix"
	"github.com/slipway-ci/slipway/pipeline/resolve"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// defaultTimeout of a job, in minutes, as GitHub has it.
const defaultTimeout = 360

// wants is what the coordinator evaluates of a job instance once its needs have ended. It follows from records and plan alone, so that a new
// leader computes the same.
type wants struct {
	name            string
	continueOnError bool
	failFast        bool
	maxParallel     int
	timeout         float64
	// pools and labels of agents that may take it.
	pools, labels []string
	cpu, memory   int64
	image         string
	// containerImage is what `container.image` says, evaluated.
	containerImage string
	images         map[string]string
	// serviceImages by position in the plan's services.
	serviceImages []string
	// inner are the contexts of the workflow that the job calls; nil if it calls none.
	inner *expr.Object
	// hold is the concurrency group; nil for none.
	hold *statev1.Hold
	// contexts of the assignment. Not its JSON: a run's event may be large, and every job has it.
	contexts *expr.Object
}

// wantsOf evaluates the job-level expressions of an instance.
func (e *Engine) wantsOf(r *run, sc *scope, p *graph.Progress, genv graph.Env, job *planv1.Job, rec *statev1.JobRecord) (*wants, error) {
	env, err := p.Env(job.GetId(), genv)
	if err != nil {
		return nil, err
	}
	w := &wants{images: map[string]string{}}
	if err := w.strategy(job.GetStrategy(), env, rec); err != nil {
		return nil, err
	}
	leg := matrix.Leg{Label: ""}
	if rec.GetMatrix() != "" {
		if leg.Values, err = expr.FromJSON([]byte(rec.GetMatrix())); err != nil {
			return nil, fmt.Errorf("matrix of %s: %w", rec.GetId(), err)
		}
	}
	env.Contexts.Set("matrix", leg.Values)
	env.Contexts.Set("strategy", matrix.Context(w.failFast, int(rec.GetLeg()), max(int(rec.GetLegs()), 1), w.maxParallel))
	if err := w.scalars(sc, job, rec, env); err != nil {
		return nil, err
	}
	w.contexts = env.Contexts
	if job.GetCall() != nil {
		return w, w.call(r, sc, job, env)
	}
	if w.hold, err = holdOf(job.GetConcurrency(), env); err != nil {
		return nil, err
	}
	if err := e.placeAndImage(w, r.plan, job, env); err != nil {
		return nil, err
	}
	w.cpu, w.memory = e.c.DefaultCPUMilli, e.c.DefaultMemory
	for _, s := range job.GetSteps() {
		// One step runs at a time: the largest counts, if the job itself says nothing.
		w.cpu, w.memory = max(w.cpu, s.GetResources().GetCpuMilli()), max(w.memory, s.GetResources().GetMemory())
	}
	if res := job.GetResources(); res.GetCpuMilli() > 0 {
		w.cpu = res.GetCpuMilli()
	}
	if res := job.GetResources(); res.GetMemory() > 0 {
		w.memory = res.GetMemory()
	}
	return w, nil
}

func (w *wants) strategy(s *planv1.Strategy, env *expr.Env, rec *statev1.JobRecord) error {
	var err error
	if w.failFast, err = resolve.Bool(s.GetFailFast(), env, true); err != nil {
		return fmt.Errorf("strategy.fail-fast: %w", err)
	}
	n, err := resolve.Number(s.GetMaxParallel(), env, 0)
	if err != nil {
		return fmt.Errorf("strategy.max-parallel: %w", err)
	}
	if n < 0 || s.GetMaxParallel() != nil && n < 1 {
		return fmt.Errorf("strategy.max-parallel: it must be at least 1, not %g", n)
	}
	w.maxParallel = int(min(n, float64(max(rec.GetLegs(), 1))))
	return nil
}

func (w *wants) scalars(sc *scope, job *planv1.Job, rec *statev1.JobRecord, env *expr.Env) error {
	var err error
	if w.name, err = instanceName(sc, job, rec, env); err != nil {
		return err
	}
	if w.continueOnError, err = resolve.Bool(job.GetContinueOnError(), env, false); err != nil {
		return fmt.Errorf("continue-on-error: %w", err)
	}
	w.timeout, err = resolve.TimeoutMinutes(job.GetTimeoutMinutes(), env, defaultTimeout)
	return err
}

// instanceName is the name with every context known. A name that is not an expression was final when the record was made: it has the leg's label.
func instanceName(sc *scope, job *planv1.Job, rec *statev1.JobRecord, env *expr.Env) (string, error) {
	if _, computed := job.GetName().GetKind().(*planv1.Value_Expr); !computed {
		return rec.GetName(), nil
	}
	text, err := resolve.String(job.GetName(), env)
	if err != nil {
		return "", fmt.Errorf("name: %w", err)
	}
	if text == "" {
		return rec.GetName(), nil
	}
	return clip(sc.title(matrix.JobName(text, "")), maxLabel), nil
}

// call evaluates what the called workflow sees, and the group: a called workflow's own holds for the call.
func (w *wants) call(r *run, sc *scope, job *planv1.Job, env *expr.Env) error {
	var err error
	if w.inner, err = r.callContexts(sc, job, env.Contexts); err != nil {
		return err
	}
	if job.GetConcurrency() != nil {
		w.hold, err = holdOf(job.GetConcurrency(), env)
		return err
	}
	w.hold, err = holdOf(r.callees[job.GetCall().GetPath()].workflow.GetConcurrency(), &expr.Env{Contexts: w.inner})
	return err
}

func (e *Engine) placeAndImage(w *wants, plan *planv1.Plan, job *planv1.Job, env *expr.Env) error {
	runsOn, err := resolve.Strings(job.GetRunsOn(), env)
	if err != nil {
		return fmt.Errorf("runs-on: %w", err)
	}
	group, err := resolve.String(job.GetRunsOnGroup(), env)
	if err != nil {
		return fmt.Errorf("runs-on.group: %w", err)
	}
	if len(runsOn) == 0 && group == "" {
		return fmt.Errorf("runs-on: it names no label")
	}
	if group != "" {
		// GitHub's groups of runners are our pools.
		w.pools = append(w.pools, group)
	}
	if w.labels, err = resolve.Strings(job.GetPool(), env); err != nil {
		return fmt.Errorf("pool: %w", err)
	}
	for _, label := range runsOn {
		runner, known := e.c.Runners[label]
		if !known {
			w.labels = append(w.labels, label)
			continue
		}
		if runner.Pool != "" && group == "" {
			w.pools = append(w.pools, runner.Pool)
		}
		if w.image == "" {
			w.image = pinned(plan, label, runner.Image)
		}
	}
	for _, label := range w.labels {
		if len(label) > maxLabel {
			return fmt.Errorf("runs-on or pool: a label has %d bytes, more than %d", len(label), maxLabel)
		}
	}
	if c := job.GetContainer(); c != nil {
		if w.containerImage, err = resolve.String(c.GetImage(), env); err != nil {
			return fmt.Errorf("container.image: %w", err)
		}
		if w.containerImage != "" {
			w.image = pinned(plan, w.containerImage)
			w.images[w.containerImage] = w.image
		}
	}
	if w.image == "" {
		return fmt.Errorf("no image is known for runs-on: %s; name a label of the coordinator's `runners`, or give the job a `container`",
			strings.Join(runsOn, ", "))
	}
	return w.services(plan, job, env)
}

func (w *wants) services(plan *planv1.Plan, job *planv1.Job, env *expr.Env) error {
	for _, s := range job.GetServices() {
		image, err := resolve.String(s.GetContainer().GetImage(), env)
		if err != nil {
			return fmt.Errorf("services.%s.image: %w", s.GetName(), err)
		}
		w.serviceImages = append(w.serviceImages, image)
		if image == "" {
			continue // GitHub: an empty image means no such service
		}
		ref := pinned(plan, image)
		if ref == "" {
			return fmt.Errorf("services.%s: the image %s was not resolved when the run was submitted", s.GetName(), image)
		}
		w.images[image] = ref
	}
	return w.stepImages(plan, job, env)
}

func (w *wants) stepImages(plan *planv1.Plan, job *planv1.Job, env *expr.Env) error {
	for i, s := range job.GetSteps() {
		image, err := resolve.String(s.GetImage(), env)
		if err != nil {
			return fmt.Errorf("image of step %d: %w", i+1, err)
		}
		if image == "" {
			continue
		}
		if w.images[image] = pinned(plan, image); w.images[image] == "" {
			return fmt.Errorf("step %d: the image %s was not resolved when the run was submitted", i+1, image)
		}
	}
	return nil
}

// pinned is the first of names that the plan has a digest for.
func pinned(plan *planv1.Plan, names ...string) string {
	for _, n := range names {
		if ref := plan.GetImages()[n]; ref != "" {
			return ref
		}
	}
	return ""
}

// assignmentContexts is the JSON that the agent builds its expressions' contexts from, in GitHub's order.
func assignmentContexts(all *expr.Object, job string) string {
	all = withGitHub(all, expr.Pair{Key: "job", Value: expr.String(job)})
	out := expr.NewObject()
	for _, name := range []string{"github", "needs", "strategy", "matrix", "inputs", "vars"} {
		v, _ := all.Get(name)
		out.Set(name, v)
	}
	return expr.ToJSON(out.Value())
}

// assignment is what an agent needs for an attempt.
func (e *Engine) assignment(r *run, rec *statev1.JobRecord, w *wants, o offer) *fleetv1.Assignment {
	sc := r.scope(rec)
	job := proto.CloneOf(sc.graph.Job(rec.GetKey()))
	workflowEnv, workflowDefaults := r.plan.GetEnv(), r.plan.GetDefaults()
	if sc.workflow != nil {
		// The caller's env is not inherited.
		workflowEnv, workflowDefaults = sc.workflow.GetEnv(), sc.workflow.GetDefaults()
	}
	literal := func(s string) *planv1.Value { return &planv1.Value{Kind: &planv1.Value_Literal{Literal: s}} }
	job.Strategy = nil
	job.Name = literal(w.name)
	job.TimeoutMinutes = literal(fmt.Sprintf("%g", w.timeout))
	job.ContinueOnError = literal(fmt.Sprint(w.continueOnError))
	if w.containerImage == "" {
		job.Container = nil
	} else {
		job.Container.Image = literal(w.containerImage)
	}
	job.Permissions = r.permissions(sc, rec.GetKey())
	services := job.Services[:0]
	for i, s := range job.GetServices() {
		if w.serviceImages[i] != "" {
			s.Container.Image = literal(w.serviceImages[i])
			services = append(services, s)
		}
	}
	job.Services = services
	a := rec.GetAttempt()
	return &fleetv1.Assignment{RunId: r.id, JobId: rec.GetId(), JobName: rec.GetName(), AttemptId: a.GetId(), Attempt: a.GetNumber(), Token: o.token, Job: job,
		WorkflowEnv: workflowEnv, WorkflowDefaults: workflowDefaults, Contexts: o.contexts, Image: w.image, Images: w.images,
		Source: r.def.GetSource().GetTree(), Traceparent: r.def.GetTraceparent(), Policy: e.assignmentPolicy(e.agent(a.GetAgentId()).rec.GetPool()),
		QueuedForMs: max(0, a.GetOfferedMs()-rec.GetQueuedMs()), HoldMs: e.offerHold(r, e.agent(a.GetAgentId()).rec.GetPool()).Milliseconds(), LeaseMs: e.leaseOf(r, rec.GetId()).Milliseconds(),
		Secrets: e.needsSecrets(r, rec, e.agent(a.GetAgentId()).rec.GetPool())}
}

// wantsNow returns the wants of a queued job, computed again after a change of leader.
func (e *Engine) wantsNow(r *run, rec *statev1.JobRecord) (*wants, error) {
	return e.newDraft(r).wants(rec)
}
