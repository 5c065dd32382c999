package engine

import (
	"slices"
	"strconv"

	"github.com/slipway-ci/slipway/coordinator/lifecycle"
	"github.com/slipway-ci/slipway/pipeline/expr"
	"github.com/slipway-ci/slipway/pipeline/graph"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// run is one live run: its committed records (never changed in place), and what waits for it.
type run struct {
	id       string
	def      *statev1.RunDefinition
	plan     *planv1.Plan
	graph    *graph.Graph
	contexts *expr.Object

	header    *statev1.RunHeader
	headerRev int64
	jobs      map[string]*jobEntry
	// order of the job instances: the plan's, then the legs'.
	order []string

	// inbox waits for the draft in flight.
	inbox  []func(*draft)
	flying bool
	// placing: jobs with a placement that is not committed yet → attempt.
	placing map[string]string
	// why a queued job found no agent.
	why map[string]string
	// notBefore: a job's retry waits until then (Unix ms); avoid: agents that rejected it, until then.
	notBefore map[string]int64
	avoid     map[string]map[string]avoidance
	wants     map[string]*wants
	watchers  map[*watcher]struct{}
}

type jobEntry struct {
	rec *statev1.JobRecord
	rev int64
}

type avoidance struct {
	untilMS int64
	reason  string
	times   int
}

func newRun(def *statev1.RunDefinition, plan *planv1.Plan, number uint64) (*run, error) {
	g, err := graph.New(plan)
	if err != nil {
		return nil, err
	}
	contexts, err := Contexts(def, plan)
	if err != nil {
		return nil, err
	}
	contexts = withGitHub(contexts, expr.Pair{Key: "run_number", Value: expr.String(strconv.FormatUint(number, 10))})
	return &run{id: def.GetId(), def: def, plan: plan, graph: g, contexts: contexts, jobs: map[string]*jobEntry{}, placing: map[string]string{},
		why: map[string]string{}, notBefore: map[string]int64{}, avoid: map[string]map[string]avoidance{}, wants: map[string]*wants{},
		watchers: map[*watcher]struct{}{}}, nil
}

// sortOrder puts job instances in the plan's order, legs ascending.
func (r *run) sortOrder() {
	at := make(map[string]int, len(r.plan.GetJobs()))
	for i, j := range r.plan.GetJobs() {
		at[j.GetId()] = i
	}
	r.order = r.order[:0:0]
	for id := range r.jobs {
		r.order = append(r.order, id)
	}
	slices.SortFunc(r.order, func(a, b string) int {
		x, y := r.jobs[a].rec, r.jobs[b].rec
		if x.GetKey() != y.GetKey() {
			return at[x.GetKey()] - at[y.GetKey()]
		}
		return int(x.GetLeg()) - int(y.GetLeg())
	})
}

func (r *run) terminal() bool { return lifecycle.Run.IsTerminal(r.header.GetState()) }

// view is the run as people see it. It shares the records' immutable parts.
func (r *run) view(steps bool) *apiv1.Run {
	v := viewHeader(r.header, r.def)
	for _, id := range r.order {
		rec := r.jobs[id].rec
		j := viewJob(rec, r.graph.Job(rec.GetKey()).GetNeeds(), steps)
		if rec.GetState() == corev1.JobState_JOB_STATE_QUEUED && j.Reason == "" {
			j.Reason = r.why[id]
		}
		v.Jobs = append(v.Jobs, j)
	}
	return v
}

func viewHeader(h *statev1.RunHeader, def *statev1.RunDefinition) *apiv1.Run {
	return &apiv1.Run{Id: h.GetId(), Number: h.GetNumber(), Project: def.GetProject(), Name: def.GetName(), Path: def.GetPath(), Event: def.GetEvent(),
		Source: def.GetSource(), State: h.GetState(), CreatedMs: h.GetCreatedMs(), StartedMs: h.GetStartedMs(), EndedMs: h.GetEndedMs(),
		Actor: def.GetActor(), Failure: h.GetFailure(), Artifacts: h.GetArtifacts()}
}

func viewJob(rec *statev1.JobRecord, needs []string, steps bool) *apiv1.Job {
	a := rec.GetAttempt()
	j := &apiv1.Job{Id: rec.GetId(), Key: rec.GetKey(), Name: rec.GetName(), State: rec.GetState(), Needs: needs, Attempt: a.GetNumber(), AttemptId: a.GetId(),
		Agent: a.GetAgentId(), QueuedMs: rec.GetQueuedMs(), StartedMs: rec.GetStartedMs(), EndedMs: rec.GetEndedMs(), Failure: rec.GetFailure(),
		Reason: rec.GetReason()}
	if len(rec.GetOutputs()) > 0 {
		j.Outputs = make(map[string]string, len(rec.GetOutputs()))
		for _, o := range rec.GetOutputs() {
			j.Outputs[o.GetName()] = o.GetValue()
		}
	}
	if steps {
		j.Steps, j.Annotations = a.GetSteps(), rec.GetAnnotations()
	}
	return j
}
