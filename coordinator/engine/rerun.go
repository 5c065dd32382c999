package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/slipway-ci/slipway/coordinator/lifecycle"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// Rerunner begins further attempts of runs.
type Rerunner interface {
	// Rerun begins the next attempt of a run that has ended. It is a run of its own: the same plan, commit and number, an id of its own, and the
	// results of jobs that are not run again. A repeat with the same RequestID returns the first result. RUN_NOT_ENDED while the run goes on;
	// INVALID_REQUEST if it is not the newest attempt, or nothing is to be run again.
	Rerun(ctx context.Context, q RerunRequest) (Rerun, error)
}

// RerunRequest says which run, and what of it. Without Failed and Job all is run again.
type RerunRequest struct {
	RequestID string
	// Run is what GetRunRequest.run_id accepts.
	Run string
	// Failed: jobs that did not succeed, with all that need them. Job: one job, by key or instance id, with all that need it.
	Failed bool
	Job    string
	// Hold is how long the pods of jobs that fail are held; 0 is as in the attempt before.
	Hold time.Duration
	By   string
	// Traceparent is the caller's.
	Traceparent string
}

// Rerun is an attempt that was begun.
type Rerun struct {
	RunID   string
	Number  uint64
	Attempt uint32
}

// PlanKeeper is what a Config.Plans that can store plans is, too. A sealed run's plan may be in its bundle alone.
type PlanKeeper interface {
	// StorePlan stores the encoded plan and returns its digest.
	StorePlan(ctx context.Context, plan []byte) (digest string, err error)
}

// maxAttempts bounds the attempts of a run: their ids are in each later one's definition.
const maxAttempts = 100

// earlier is the attempt of a run that a later one is made from.
type earlier struct {
	header *statev1.RunHeader
	def    *statev1.RunDefinition
	jobs   []*statev1.JobRecord
}

// attemptOf is the number of a run's attempt, from 1.
func attemptOf(def *statev1.RunDefinition) uint32 { return uint32(len(def.GetEarlier())) + 1 }

// originOf is the id of the run's first attempt, which the run has in every one.
func originOf(def *statev1.RunDefinition) string {
	if len(def.GetEarlier()) > 0 {
		return def.GetEarlier()[0]
	}
	return def.GetId()
}

// nameKey is the key by which a run is found by its number: each attempt has its own.
func nameKey(def *statev1.RunDefinition, number uint64) string {
	if n := attemptOf(def); n > 1 {
		return againKey(def.GetProject(), number, n)
	}
	return numKey(def.GetProject(), number)
}

// Rerun implements Rerunner.
func (e *Engine) Rerun(ctx context.Context, q RerunRequest) (Rerun, error) {
	if q.RequestID == "" || q.Failed && q.Job != "" {
		return Rerun{}, rpcerr.New(rpcerr.InvalidRequest, "a rerun needs a request id, and is of the failed jobs or of one job, not both")
	}
	if id, number, found, err := Submitted(ctx, e.c.Store, q.RequestID); err != nil || found {
		return e.begun(ctx, id, number, err)
	}
	runID, err := e.resolveID(ctx, q.Run)
	if err != nil {
		return Rerun{}, err
	}
	old, plan, err := e.ended(ctx, runID)
	if err != nil {
		return Rerun{}, err
	}
	if err := e.isNewest(ctx, old); err != nil {
		return Rerun{}, err
	}
	def := proto.CloneOf(old.def)
	def.Id, def.RequestId, def.SubmitterSpan = e.c.NewID(), q.RequestID, ""
	def.Earlier = append(def.Earlier, old.def.GetId())
	def.Rerun = &statev1.Rerun{Failed: q.Failed, Job: clip(q.Job, maxLabel), By: clip(q.By, maxLabel)}
	if q.Hold > 0 {
		def.HoldMs = q.Hold.Milliseconds()
	}
	if len(def.Earlier) >= maxAttempts {
		return Rerun{}, rpcerr.New(rpcerr.InvalidRequest, "run #%d has %d attempts, the most that a run can have; start a new one", old.header.GetNumber(), maxAttempts)
	}
	if def.PlanDigest, err = e.keepPlan(ctx, def.GetPlanDigest(), plan); err != nil {
		return Rerun{}, err
	}
	e.trace(def, q.Traceparent)
	r, err := newRun(def, plan, old.header.GetNumber())
	if err != nil {
		return Rerun{}, rpcerr.New(rpcerr.Internal, "the plan of run #%d can't be used any more: %v", old.header.GetNumber(), err)
	}
	r.earlier = old
	if _, _, err := r.again(); err != nil {
		return Rerun{}, err
	}
	id, number, err := e.submitted(ctx, r)
	if err != nil {
		return Rerun{}, err
	}
	return Rerun{RunID: id, Number: number, Attempt: attemptOf(def)}, nil
}

// begun answers the repeat of a rerun.
func (e *Engine) begun(ctx context.Context, id string, number uint64, err error) (Rerun, error) {
	if err != nil {
		return Rerun{}, err
	}
	v, err := e.Run(ctx, id)
	return Rerun{RunID: id, Number: number, Attempt: v.GetAttempt()}, err
}

// ended reads a run that has ended, from the store or sealed, and its plan.
func (e *Engine) ended(ctx context.Context, runID string) (*earlier, *planv1.Plan, error) {
	rr, err := readRun(ctx, e.c.Store, runID)
	if err != nil {
		return nil, nil, err
	}
	old, plan := &earlier{}, &planv1.Plan{}
	if rr != nil {
		old.header, old.def = rr.header, rr.def
		for _, j := range rr.jobs {
			old.jobs = append(old.jobs, j.rec)
		}
		if plan, err = e.c.Plans.LoadPlan(ctx, rr.def.GetPlanDigest()); err != nil {
			return nil, nil, rpcerr.New(rpcerr.Internal, "the plan of run #%d can't be read: %v", old.header.GetNumber(), err)
		}
	} else {
		b, err := e.c.History.Sealed(ctx, runID)
		if err == nil && b == nil {
			err = rpcerr.New(rpcerr.NotFound, "there is no run %s", runID)
		}
		if err != nil {
			return nil, nil, err
		}
		old.header, old.def, old.jobs = b.GetHeader(), b.GetDefinition(), b.GetJobs()
		if err := proto.Unmarshal(b.GetPlan(), plan); err != nil {
			return nil, nil, rpcerr.New(rpcerr.Internal, "the plan of sealed run #%d can't be read: %v", old.header.GetNumber(), err)
		}
	}
	if !lifecycle.Run.IsTerminal(old.header.GetState()) {
		return nil, nil, rpcerr.New(rpcerr.RunNotEnded, "run #%d is %s; it can be run again once it has ended", old.header.GetNumber(), stateWord(old.header.GetState()))
	}
	return old, plan, nil
}

// isNewest refuses an attempt after which there is another. Two that come at one time are told apart by the commit.
func (e *Engine) isNewest(ctx context.Context, old *earlier) error {
	ids, err := e.numbered(ctx, old.header.GetNumber())
	if err != nil {
		return err
	}
	if newest := ids[old.def.GetProject()]; newest != "" && newest != old.def.GetId() {
		return rpcerr.New(rpcerr.InvalidRequest, "attempt %d of run #%d is not its newest; run that one again: #%d, or %s", attemptOf(old.def), old.header.GetNumber(), old.header.GetNumber(), newest)
	}
	return nil
}

// keepPlan sees to it that the plan is in the blob store under its digest.
func (e *Engine) keepPlan(ctx context.Context, digest string, plan *planv1.Plan) (string, error) {
	if e.keeper == nil {
		return digest, nil
	}
	data, err := encode(plan)
	if err == nil {
		digest, err = e.keeper.StorePlan(ctx, data)
	}
	if err != nil {
		return "", rpcerr.New(rpcerr.Internal, "the run's plan can't be stored: %v", err)
	}
	return digest, nil
}

// loadEarlier reads what a rerun is made from, for one whose creation is not finished.
func (e *Engine) loadEarlier(ctx context.Context, r *run) error {
	ids := r.def.GetEarlier()
	if len(ids) == 0 {
		return nil
	}
	old, _, err := e.ended(ctx, ids[len(ids)-1])
	if err != nil {
		return fmt.Errorf("load the attempt before run %s: %w", r.id, err)
	}
	r.earlier = old
	return nil
}

// again returns the records of a rerun as it begins: kept ones with their results, and fresh ones, which may be fewer than they will be.
func (r *run) again() (kept, fresh []*statev1.JobRecord, err error) {
	s, err := r.selectAgain()
	if err != nil {
		return nil, nil, err
	}
	for _, rec := range r.earlier.jobs {
		top := r.earlier.top(rec)
		switch {
		case s.keys[top.GetKey()], s.legs[top.GetId()] && rec != top:
		case s.legs[top.GetId()]:
			fresh = append(fresh, r.blank(rec))
		default:
			kept = append(kept, r.keep(rec))
		}
	}
	return kept, fresh, nil
}

// selection is what of a run is done again: jobs as a whole, and single legs or instances of others.
type selection struct{ keys, legs map[string]bool }

// selectAgain follows from the earlier attempt and the plan alone, so that a new leader finds the same.
func (r *run) selectAgain() (selection, error) {
	s := selection{keys: map[string]bool{}, legs: map[string]bool{}}
	q := r.def.GetRerun()
	for _, rec := range r.earlier.jobs {
		top := r.earlier.top(rec)
		switch {
		case q.GetJob() != "":
			if rec.GetId() == q.GetJob() || rec.GetScope() == "" && rec.GetKey() == q.GetJob() {
				s.legs[top.GetId()] = true
			}
		case q.GetFailed():
			if rec == top && failedJob(rec) {
				s.legs[top.GetId()] = true
			}
		default:
			s.keys[top.GetKey()] = true
		}
	}
	if len(s.keys)+len(s.legs) == 0 {
		return s, r.nothingAgain()
	}
	r.widen(s)
	return s, nil
}

func (r *run) nothingAgain() error {
	q := r.def.GetRerun()
	if q.GetJob() == "" {
		return rpcerr.New(rpcerr.InvalidRequest, "no job of run #%d failed; without --failed all of it is run again", r.number)
	}
	var known []string
	for _, rec := range r.earlier.jobs {
		known = append(known, rec.GetId())
	}
	slices.Sort(known)
	return rpcerr.New(rpcerr.InvalidRequest, "run #%d has no job %q; it has %s", r.number, q.GetJob(), strings.Join(known, ", "))
}

// widen adds all that need what is selected. A matrix that was never expanded is one of those as a whole.
func (r *run) widen(s selection) {
	touched := map[string]bool{}
	for key := range s.keys {
		touched[key] = true
	}
	for _, rec := range r.earlier.jobs {
		if rec.GetScope() != "" || !s.legs[rec.GetId()] {
			continue
		}
		touched[rec.GetKey()] = true
		if sc := r.scopes[""]; isPlaceholder(sc, rec, sc.graph.Job(rec.GetKey())) {
			s.keys[rec.GetKey()] = true
		}
	}
	for changed := true; changed; {
		changed = false
		for _, job := range r.plan.GetJobs() {
			if !s.keys[job.GetId()] && slices.ContainsFunc(job.GetNeeds(), func(need string) bool { return touched[need] }) {
				s.keys[job.GetId()], touched[job.GetId()], changed = true, true, true
			}
		}
	}
}

// failedJob says whether a job ended otherwise than it should. A skipped one did not: if it was skipped because another failed, it needs that one.
func failedJob(rec *statev1.JobRecord) bool {
	return rec.GetState() == corev1.JobState_JOB_STATE_FAILED || rec.GetState() == corev1.JobState_JOB_STATE_TIMED_OUT || rec.GetState() == corev1.JobState_JOB_STATE_CANCELLED
}

// top is the job of the run's own workflow that a job belongs to: itself, or the call above it.
func (o *earlier) top(rec *statev1.JobRecord) *statev1.JobRecord {
	for rec.GetScope() != "" {
		i := slices.IndexFunc(o.jobs, func(j *statev1.JobRecord) bool { return j.GetId() == rec.GetScope() })
		if i < 0 {
			return rec
		}
		rec = o.jobs[i]
	}
	return rec
}

// keep is the record of a job whose result stays.
func (r *run) keep(old *statev1.JobRecord) *statev1.JobRecord {
	rec := proto.CloneOf(old)
	rec.RunId, rec.TransitionId, rec.Hold, rec.Held, rec.DebugSessions = r.id, "", nil, nil, nil
	if rec.GetKeptFrom() == "" {
		rec.KeptFrom = old.GetRunId()
	}
	if rec.GetAttempt() != nil {
		rec.Attempt.TokenHash, rec.Attempt.SessionId = nil, ""
	}
	return rec
}

// blank is the record of a job that is run again, as it was before it began.
func (r *run) blank(old *statev1.JobRecord) *statev1.JobRecord {
	return &statev1.JobRecord{RunId: r.id, Id: old.GetId(), Key: old.GetKey(), Name: old.GetName(), Scope: old.GetScope(), State: corev1.JobState_JOB_STATE_BLOCKED,
		Matrix: old.GetMatrix(), Leg: old.GetLeg(), Legs: old.GetLegs(), Tries: r.triesBefore(old)}
}

// initialRecords are those that a run begins with.
func (e *Engine) initialRecords(d *draft) []*statev1.JobRecord {
	var out []*statev1.JobRecord
	if d.r.earlier == nil {
		for _, job := range d.r.plan.GetJobs() {
			out = append(out, e.initialJobs(d.r, d.r.scopes[""], job)...)
		}
		return out
	}
	kept, fresh, err := d.r.again()
	if err != nil {
		// It was found before, when the rerun was asked for.
		e.c.Log.Error("what a rerun does again can't be found any more; it does all again", "run", d.r.id, "error", err)
	}
	held := map[string]bool{}
	before := map[string]*statev1.JobRecord{}
	for _, rec := range d.r.earlier.jobs {
		before[rec.GetId()] = rec
	}
	for _, rec := range append(kept, fresh...) {
		held[rec.GetKey()] = held[rec.GetKey()] || rec.GetScope() == ""
		out = append(out, rec)
	}
	for _, job := range d.r.plan.GetJobs() {
		if held[job.GetId()] {
			continue
		}
		for _, rec := range e.initialJobs(d.r, d.r.scopes[""], job) {
			if old := before[rec.GetId()]; old != nil {
				rec.Tries = d.r.triesBefore(old)
			}
			out = append(out, rec)
		}
	}
	d.keepArtifacts(kept)
	return out
}

// keepArtifacts are those that kept jobs made.
func (d *draft) keepArtifacts(kept []*statev1.JobRecord) {
	ids := map[string]bool{}
	for _, rec := range kept {
		ids[rec.GetId()] = true
	}
	h := d.editHead()
	h.Artifacts = nil
	for _, a := range d.r.earlier.header.GetArtifacts() {
		if ids[a.GetJobId()] {
			h.Artifacts = append(h.Artifacts, a)
		}
	}
}

// errTaken answers a rerun that came second.
func (r *run) errTaken() error {
	return rpcerr.New(rpcerr.InvalidRequest, "attempt %d of run #%d was begun by somebody else", attemptOf(r.def), r.number)
}

var errNoAttemptSo = errors.New("no such attempt")

// attemptID is the id of a run's attempt n, from 1.
func attemptID(def *statev1.RunDefinition, n int) (string, error) {
	switch ids := def.GetEarlier(); {
	case n >= 1 && n <= len(ids):
		return ids[n-1], nil
	case n == len(ids)+1:
		return def.GetId(), nil
	}
	return "", errNoAttemptSo
}

// rerunWord says what an attempt runs again; "" in the first.
func rerunWord(def *statev1.RunDefinition) string {
	switch q := def.GetRerun(); {
	case q == nil:
		return ""
	case q.GetFailed():
		return "failed"
	case q.GetJob() != "":
		return q.GetJob()
	}
	return "all"
}

// keptAttempt is the number of the run's attempt that a job's result is from; 0 if it is of this one.
func keptAttempt(def *statev1.RunDefinition, rec *statev1.JobRecord) uint32 {
	return uint32(slices.Index(def.GetEarlier(), rec.GetKeptFrom()) + 1)
}
