package engine

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/slipway-ci/slipway/coordinator/commit"
	"github.com/slipway-ci/slipway/coordinator/lifecycle"
	"github.com/slipway-ci/slipway/coordinator/store"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	"github.com/slipway-ci/slipway/pipeline/expr"
	"github.com/slipway-ci/slipway/pipeline/matrix"
	"github.com/slipway-ci/slipway/pipeline/resolve"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// Submit implements Control.
func (e *Engine) Submit(ctx context.Context, s Submission) (string, uint64, error) {
	if s.RequestID == "" || s.Project == "" || s.PlanDigest == "" || len(s.Plan.GetJobs()) == 0 {
		return "", 0, rpcerr.New(rpcerr.InvalidRequest, "a run needs a request id, a project, and a plan with at least one job that is in the blob store")
	}
	def := &statev1.RunDefinition{Id: e.c.NewID(), RequestId: s.RequestID, Project: s.Project, Name: clip(s.Plan.GetName(), maxLabel), Path: s.Plan.GetPath(), Event: s.Event,
		EventPayload: s.EventPayload, Source: s.Source, PlanDigest: s.PlanDigest, Actor: s.Actor, Vars: s.Vars, HoldMs: min(max(s.Hold, 0), e.c.MaxHold).Milliseconds()}
	e.trace(def, s.Traceparent)
	r, err := newRun(def, s.Plan, 0)
	if err = errors.Join(err, boundPlan(s.Plan)); err != nil {
		return "", 0, rpcerr.New(rpcerr.InvalidRequest, "%v", err)
	}
	return e.submitted(ctx, r)
}

// submitted creates a run and returns its id and number.
func (e *Engine) submitted(ctx context.Context, r *run) (id string, number uint64, err error) {
	err = e.ask(ctx, func(reply func(error)) {
		e.submit(r, func(gotID string, gotNumber uint64, err error) {
			if err == nil {
				id, number = gotID, gotNumber
			}
			reply(err)
		})
	})
	if err != nil {
		return "", 0, err
	}
	return id, number, nil
}

// submit creates the run, unless its request is being served already.
func (e *Engine) submit(r *run, reply func(string, uint64, error)) {
	request := r.def.GetRequestId()
	if waiting, ok := e.submitting[request]; ok {
		e.submitting[request] = append(waiting, reply)
		return
	}
	if err := e.c.Admit(); err != nil {
		reply("", 0, err)
		return
	}
	e.submitting[request] = []func(string, uint64, error){reply}
	answer := func(id string, number uint64, err error) {
		waiting := e.submitting[request]
		delete(e.submitting, request)
		for _, w := range waiting {
			w(id, number, err)
		}
	}
	project := r.def.GetProject()
	number, again := r.number, r.earlier != nil
	if !again {
		number = e.numbers[project] + 1
	}
	d, err := e.creation(r, number)
	if err != nil {
		if rpcerr.ReasonOf(err) == "" {
			err = rpcerr.New(rpcerr.Internal, "the run can't be stored: %v", err)
		}
		answer("", 0, err)
		return
	}
	e.numbers[project] = max(number, e.numbers[project])
	d.then(func() {
		e.c.Metrics.submissions.Inc()
		answer(r.id, number, nil)
	})
	d.refused = func(err error) {
		if !again && e.numbers[project] == number {
			e.numbers[project]--
		}
		e.forgetClaims(r)
		if errors.Is(err, commit.ErrConflict) {
			e.repeat(r, answer)
			return
		}
		switch {
		case errors.Is(err, commit.ErrStopped):
			err = errNotLeader()
		case errors.Is(err, store.ErrInvalid):
			err = rpcerr.New(rpcerr.InvalidRequest, "the run can't be stored: %v", err)
		}
		answer("", 0, err)
	}
	d.evaluate()
	if e.c.Mutants.EarlyAck {
		reply(r.id, number, nil)
		e.submitting[request] = nil
	}
	e.start(d)
}

// creation is the draft of a new run.
func (e *Engine) creation(r *run, number uint64) (*draft, error) {
	r.contexts = withGitHub(r.contexts, expr.Pair{Key: "run_number", Value: expr.String(fmt.Sprint(number))})
	r.number, r.scopes[""].contexts = number, r.contexts
	if _, err := holdOf(r.plan.GetConcurrency(), &expr.Env{Contexts: r.contexts}); err != nil {
		return nil, rpcerr.New(rpcerr.InvalidRequest, "%v", err)
	}
	if v := r.plan.GetRunName(); v != nil {
		if name, err := resolve.String(v, &expr.Env{Contexts: r.contexts}); err == nil && name != "" {
			r.def.Name = clip(name, maxLabel)
		}
	}
	r.header = &statev1.RunHeader{Id: r.id, Number: number, State: corev1.RunState_RUN_STATE_CREATING}
	d := e.newDraft(r)
	d.create = true
	d.header = proto.CloneOf(r.header)
	defValue, err := encode(r.def)
	if err != nil {
		return nil, err
	}
	request, err := encode(&statev1.RequestRecord{RunId: r.id, RunNumber: number, CreatedMs: d.now})
	if err != nil {
		return nil, err
	}
	project := r.def.GetProject()
	d.extra = []store.Op{{Key: defKey(r.id), Value: defValue}, {Key: reqKey(r.def.GetRequestId()), Value: request},
		{Key: newestKey(r.id), Value: []byte(project)}, {Key: nameKey(r.def, number), Value: []byte(r.id)}}
	d.extraCompares = []store.Compare{{Key: reqKey(r.def.GetRequestId())}, {Key: nameKey(r.def, number)}}
	d.then(func() { e.adopt(r) })
	e.create(d)
	return d, nil
}

// create adds the records of all jobs, and queues the run.
func (e *Engine) create(d *draft) {
	for _, rec := range e.initialRecords(d) {
		d.put(rec)
	}
	// It was evaluated before, when the run was submitted.
	hold, err := holdOf(d.r.plan.GetConcurrency(), &expr.Env{Contexts: d.r.contexts})
	if err != nil {
		e.c.Log.Error("a run's concurrency can't be evaluated any more; it runs without", "run", d.r.id, "error", err)
	}
	d.editHead().Hold = hold
	if hold != nil && !d.claim("", hold) {
		d.fireRun(lifecycle.RunGate, lifecycle.RunArgs{Reason: d.r.claims[""].g.reason(0)})
		return
	}
	d.fireRun(lifecycle.RunCreated, lifecycle.RunArgs{})
}

// initialJobs are a job's instances as far as they are known before it is ready: its legs, or one record that stands for them.
func (e *Engine) initialJobs(r *run, sc *scope, job *planv1.Job) []*statev1.JobRecord {
	if job.GetStrategy().GetMatrix() != nil {
		rec := e.newJob(r, sc, job, matrix.Leg{}, 0, 1)
		rec.Id = sc.instance(job.GetId())
		return []*statev1.JobRecord{rec}
	}
	legs, err := resolve.Legs(job.GetStrategy(), &expr.Env{Contexts: sc.contexts})
	if err != nil {
		// Only a plan that the compiler did not make; the job fails when it is opened.
		legs = []matrix.Leg{{}}
	}
	var out []*statev1.JobRecord
	for i, leg := range legs {
		out = append(out, e.newJob(r, sc, job, leg, i, len(legs)))
	}
	return out
}

// repeat answers a request that was served before with its first result.
func (e *Engine) repeat(r *run, answer func(string, uint64, error)) {
	request := r.def.GetRequestId()
	e.wg.Go(func() {
		ctx, cancel := e.background()
		defer cancel()
		id, number, found, err := Submitted(ctx, e.c.Store, request)
		e.post(func() {
			if err == nil && !found && r.earlier != nil {
				answer("", 0, r.errTaken())
				return
			}
			if err == nil && !found {
				// The conflict was about the run's number: memory is behind the store.
				e.c.Log.Error("a new run's number is taken; stepping down to load again", "request", request)
				e.stepDown()
				return
			}
			answer(id, number, err)
		})
	})
}

// Submitted returns what the first Submit with a request id returned; found is false if there was none, or not yet.
func Submitted(ctx context.Context, s store.Store, requestID string) (runID string, number uint64, found bool, err error) {
	kv, found, err := s.Get(ctx, reqKey(requestID))
	if err != nil || !found {
		return "", 0, false, storeError(err)
	}
	rec := &statev1.RequestRecord{}
	if err := decode(kv, rec); err != nil {
		return "", 0, false, err
	}
	return rec.GetRunId(), rec.GetRunNumber(), true, nil
}
