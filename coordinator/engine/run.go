package engine

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

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
	contexts *expr.Object
	number   uint64
	// earlier is the attempt before this one; nil in attempt 1, and once this one is created.
	earlier *earlier
	// callees are the workflows that jobs call, by path; scopes those at work, by the call's instance id, "" the run's own.
	callees map[string]callee
	scopes  map[string]*scope
	// claims on concurrency groups: the run's own under "", the jobs' under their ids.
	claims map[string]*claim

	header    *statev1.RunHeader
	headerRev int64
	jobs      map[string]*jobEntry
	// order of the job instances: the plan's, then the legs'.
	order []string

	// inbox waits for the draft in flight.
	inbox  []func(*draft)
	flying bool
	// accepted are attempts whose agents took them since the last draft: the next one says so.
	accepted []*attemptRef
	// placing: jobs with a placement that is not committed yet → attempt.
	placing map[string]string
	// why says who holds the group that a job, or the run (""), waits for.
	why map[string]string
	// queued says why a queued job has no agent; nil for a run that is not live. told is what watchers were last told of it.
	queued func(jobID string) string
	told   string
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
	g, err := graph.New(plan.GetJobs())
	if err != nil {
		return nil, err
	}
	called, err := callees(plan)
	if err != nil {
		return nil, err
	}
	contexts, err := Contexts(def, plan)
	if err != nil {
		return nil, err
	}
	if number > 0 { // else it has none yet
		contexts = withGitHub(contexts, expr.Pair{Key: "run_number", Value: expr.String(strconv.FormatUint(number, 10))})
	}
	return &run{id: def.GetId(), def: def, plan: plan, contexts: contexts, number: number, callees: called,
		scopes: map[string]*scope{"": {graph: g, contexts: contexts}}, claims: map[string]*claim{}, jobs: map[string]*jobEntry{}, placing: map[string]string{},
		why: map[string]string{}, notBefore: map[string]int64{}, avoid: map[string]map[string]avoidance{}, wants: map[string]*wants{},
		watchers: map[*watcher]struct{}{}}, nil
}

// sortOrder puts job instances in the plan's order, legs ascending, the jobs of a call after it.
func (r *run) sortOrder() {
	at := make(map[*planv1.Job]int, len(r.plan.GetJobs()))
	for i, j := range r.plan.GetJobs() {
		at[j] = i
	}
	for _, w := range r.plan.GetWorkflows() {
		for i, j := range w.GetJobs() {
			at[j] = i
		}
	}
	r.order = r.order[:0:0]
	paths := make(map[string][]int, len(r.jobs))
	for id, e := range r.jobs {
		r.order = append(r.order, id)
		paths[id] = r.path(e.rec, at)
	}
	slices.SortFunc(r.order, func(a, b string) int {
		return cmp.Or(slices.Compare(paths[a], paths[b]), strings.Compare(a, b))
	})
}

func (r *run) terminal() bool { return lifecycle.Run.IsTerminal(r.header.GetState()) }

// view is the run as people see it. It shares the records' immutable parts.
func (r *run) view(steps bool) *apiv1.Run {
	v := viewHeader(r.header, r.def)
	if why := r.why[""]; why != "" && r.header.GetState() == corev1.RunState_RUN_STATE_WAITING {
		v.Reason = why
	}
	for _, id := range r.order {
		rec := r.jobs[id].rec
		sc := r.scope(rec)
		if sc == nil || opened(rec, sc.graph.Job(rec.GetKey())) {
			continue // its jobs stand for it
		}
		var needs []string
		for _, need := range sc.graph.Job(rec.GetKey()).GetNeeds() {
			needs = append(needs, sc.instance(need))
		}
		j := viewJob(rec, needs, steps)
		j.KeptAttempt = keptAttempt(r.def, rec)
		switch why := r.waits(rec); {
		case rec.GetState() == corev1.JobState_JOB_STATE_QUEUED && j.Reason != "" && why != "":
			// Why it is tried again, and why it is not yet.
			j.Reason += "; " + why
		case rec.GetState() == corev1.JobState_JOB_STATE_QUEUED && j.Reason == "",
			rec.GetState() == corev1.JobState_JOB_STATE_WAITING && rec.GetHold() != nil && why != "":
			j.Reason = why
		}
		v.Jobs = append(v.Jobs, j)
	}
	explainBlocked(v)
	v.Flaky = v.GetState() == corev1.RunState_RUN_STATE_SUCCEEDED && slices.ContainsFunc(v.GetJobs(), (*apiv1.Job).GetFlaky)
	return v
}

// decided is why a job is blocked although all that it needs has ended.
const decided = "all that it needs has ended; what follows from that is being stored"

// explainBlocked: what follows from the end of a job may take several transactions, and a store that is away, or a new leader, lies between them.
func explainBlocked(v *apiv1.Run) {
	if v.GetState() <= corev1.RunState_RUN_STATE_WAITING || v.GetState() >= corev1.RunState_RUN_STATE_FINISHING ||
		!slices.ContainsFunc(v.GetJobs(), isBlocked) {
		return
	}
	ended := map[string]bool{}
	for _, j := range v.GetJobs() {
		before, known := ended[j.GetKey()]
		ended[j.GetKey()] = lifecycle.Job.IsTerminal(j.GetState()) && (before || !known)
	}
	for _, j := range v.GetJobs() {
		if isBlocked(j) && j.GetReason() == "" && !slices.ContainsFunc(j.GetNeeds(), func(n string) bool { return !ended[n] }) {
			j.Reason = decided
		}
	}
}

func isBlocked(j *apiv1.Job) bool { return j.GetState() == corev1.JobState_JOB_STATE_BLOCKED }

// waits is what a job waits for beside what its record says.
func (r *run) waits(rec *statev1.JobRecord) string {
	if rec.GetState() == corev1.JobState_JOB_STATE_QUEUED && r.queued != nil {
		return r.queued(rec.GetId())
	}
	return r.why[rec.GetId()]
}

func viewHeader(h *statev1.RunHeader, def *statev1.RunDefinition) *apiv1.Run {
	return &apiv1.Run{Id: h.GetId(), Number: h.GetNumber(), Project: def.GetProject(), Name: def.GetName(), Path: def.GetPath(), Event: def.GetEvent(),
		Source: def.GetSource(), State: h.GetState(), CreatedMs: h.GetCreatedMs(), StartedMs: h.GetStartedMs(), EndedMs: h.GetEndedMs(),
		Actor: def.GetActor(), Failure: h.GetFailure(), Artifacts: h.GetArtifacts(), Reason: h.GetReason(), Attempt: attemptOf(def), Earlier: def.GetEarlier(),
		RerunBy: def.GetRerun().GetBy(), RerunOf: rerunWord(def), HoldMs: def.GetHoldMs()}
}

func viewJob(rec *statev1.JobRecord, needs []string, steps bool) *apiv1.Job {
	a := rec.GetAttempt()
	j := &apiv1.Job{Id: rec.GetId(), Key: rec.GetKey(), Name: rec.GetName(), State: rec.GetState(), Needs: needs, Attempt: a.GetNumber(), AttemptId: a.GetId(),
		Agent: a.GetAgentId(), QueuedMs: rec.GetQueuedMs(), StartedMs: rec.GetStartedMs(), EndedMs: rec.GetEndedMs(), Failure: rec.GetFailure(),
		Reason: rec.GetReason(), Held: rec.GetHeld(), DebugSessions: rec.GetDebugSessions(), Tries: rec.GetTries(), Flaky: flaky(rec), KeptFrom: rec.GetKeptFrom()}
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
