package engine

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/slipway-ci/slipway/coordinator/blob"
	"github.com/slipway-ci/slipway/coordinator/config"
	"github.com/slipway-ci/slipway/coordinator/leader"
	"github.com/slipway-ci/slipway/coordinator/store/faultstore"
	"github.com/slipway-ci/slipway/coordinator/store/memstore"
	"github.com/slipway-ci/slipway/internal/clock"
	"github.com/slipway-ci/slipway/internal/id"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is one store with an engine on it, which can be replaced as by a change of leader.
type rig struct {
	*Engine
	t     *testing.T
	store *faultstore.Store
	clock *clock.Fake
	ids   *id.Source
	plans planMap
	dice  io.Reader
}

type planMap map[string]*planv1.Plan

func (m planMap) LoadPlan(_ context.Context, digest string) (*planv1.Plan, error) {
	if p := m[digest]; p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("plan %s: %w", digest, blob.ErrNotFound)
}

func newRig(t *testing.T) *rig {
	t.Helper()
	c := clock.NewFake(time.UnixMilli(1_700_000_000_000))
	r := &rig{t: t, store: faultstore.New(memstore.New()), clock: c, ids: id.NewSource(c.Now), plans: planMap{}, dice: rand.NewChaCha8([32]byte{})}
	r.lead()
	t.Cleanup(func() { r.Engine.Close() })
	return r
}

// lead starts an engine in a new term; the former one, if any, finds itself fenced.
func (r *rig) lead() {
	r.t.Helper()
	term, err := (&leader.Single{Store: r.store, Key: root + "leader", Name: "test"}).Campaign(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	e, err := New(r.t.Context(), Config{Store: r.store, Term: term, Plans: r.plans, Clock: r.clock, NewID: r.ids.New, Random: r.dice,
		Runners: map[string]config.Runner{"ubuntu-latest": {Image: "runner", Pool: "default"}}, MaxHold: time.Hour,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		r.t.Fatal(err)
	}
	r.Engine = e
	e.Start()
}

// restart ends the leader and starts the next one.
func (r *rig) restart() {
	r.t.Helper()
	r.Engine.Close()
	r.lead()
}

func (r *rig) ctx() context.Context {
	ctx, cancel := context.WithTimeout(r.t.Context(), 2*time.Minute)
	r.t.Cleanup(cancel)
	return ctx
}

// settle waits until the engine has handled everything that is on its way.
func (r *rig) settle() {
	r.t.Helper()
	for {
		idle := false
		if err := r.ask(r.ctx(), func(reply func(error)) {
			r.mu.Lock()
			idle = len(r.mailbox) == 0 && !r.scheduleDue
			r.mu.Unlock()
			for _, a := range r.agents {
				idle = idle && !a.writing
			}
			for _, x := range r.runs {
				idle = idle && !x.flying && len(x.inbox) == 0
			}
			reply(nil)
		}); err != nil {
			r.t.Fatal(err)
		}
		if idle {
			return
		}
	}
}

// passTime lets the clock run until the test ends, so that pauses of retries end. The agents that are there say so, since its
// seconds go by faster than the test comes to its turns.
func (r *rig) passTime() {
	e := r.Engine
	ctx, cancel := context.WithCancel(r.t.Context())
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for ms := 0; ; ms++ {
			select {
			case <-stop:
				return
			default:
				r.clock.Advance(time.Millisecond)
				if ms%1000 == 0 {
					// Waits for the engine, so that it never finds more than a second gone.
					_ = e.ask(ctx, func(reply func(error)) { e.allBeat(); reply(nil) })
				}
				runtime.Gosched()
			}
		}
	}()
	r.t.Cleanup(func() { cancel(); close(stop); <-stopped })
}

// allBeat is a heartbeat of every session, on the engine's goroutine.
func (e *Engine) allBeat() {
	for session, a := range e.sessions {
		e.Heartbeat(a.rec.GetId(), session, 1)
	}
}

func lit(s string) *planv1.Value { return &planv1.Value{Kind: &planv1.Value_Literal{Literal: s}} }
func ex(s string) *planv1.Value  { return &planv1.Value{Kind: &planv1.Value_Expr{Expr: s}} }

func job(id string, needs ...string) *planv1.Job {
	return &planv1.Job{Id: id, Needs: needs, Condition: "success()", RunsOn: []*planv1.Value{lit("ubuntu-latest")}}
}

func plan(jobs ...*planv1.Job) *planv1.Plan {
	return &planv1.Plan{Schema: 1, Path: ".github/workflows/ci.yml", Name: "ci", Jobs: jobs, Images: map[string]string{"ubuntu-latest": "registry/runner@sha256:1"}}
}

func (r *rig) submit(p *planv1.Plan) string {
	r.t.Helper()
	runID, _, err := r.Submit(r.ctx(), r.submission(p))
	if err != nil {
		r.t.Fatal(err)
	}
	return runID
}

func (r *rig) submission(p *planv1.Plan) Submission {
	digest := fmt.Sprintf("sha256:%d", len(r.plans))
	r.plans[digest] = p
	return Submission{RequestID: r.ids.New(), Project: "team/app", Plan: p, PlanDigest: digest, Event: "push", Actor: "ada",
		Source: &corev1.Source{Repository: "team/app", Sha: "abc", Ref: "refs/heads/main", Tree: "sha256:tree"}}
}

func (r *rig) run(runID string) *apiv1.Run {
	r.t.Helper()
	v, err := r.Run(r.ctx(), runID)
	if err != nil {
		r.t.Fatal(err)
	}
	return v
}

// states is "job:state …" of a run, for comparison.
func (r *rig) states(runID string) string {
	r.t.Helper()
	r.settle()
	v := r.run(runID)
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s", stateWord(v.GetState()))
	for _, j := range v.GetJobs() {
		fmt.Fprintf(&b, " %s:%s", j.GetId(), jobWord(j.GetState()))
	}
	return b.String()
}

func jobWord(s corev1.JobState) string {
	return map[corev1.JobState]string{10: "blocked", 20: "waiting", 30: "queued", 40: "assigned", 50: "running", 60: "cancelling", 70: "succeeded", 80: "failed",
		90: "timed-out", 100: "cancelled", 110: "skipped"}[s]
}

func (r *rig) want(runID, states string) {
	r.t.Helper()
	if got := r.states(runID); got != states {
		r.t.Fatalf("\n got %s\nwant %s", got, states)
	}
}

// fakeAgent is an agent's side of a session.
type fakeAgent struct {
	r       *rig
	id      string
	session string
	slots   uint32
	labels  []string
	mu      sync.Mutex
	got     []*fleetv1.SessionResponse
	ended   []error
	arrived chan struct{}
	seq     map[string]uint64
	tokens  map[string]string
}

func (a *fakeAgent) Send(m *fleetv1.SessionResponse) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.got = append(a.got, m)
	select {
	case a.arrived <- struct{}{}:
	default:
	}
}

// End implements Outbox.
func (a *fakeAgent) End(reason error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended = append(a.ended, reason)
}

// endings are the reasons with which the engine gave sessions up.
func (a *fakeAgent) endings() []error {
	a.r.settle()
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ended
}

func (r *rig) agent(name string, slots uint32, labels ...string) *fakeAgent {
	r.t.Helper()
	a := &fakeAgent{r: r, id: name, slots: slots, labels: labels, seq: map[string]uint64{}, tokens: map[string]string{}, arrived: make(chan struct{}, 1)}
	a.connect()
	return a
}

// connect begins a session and returns which attempts live on.
func (a *fakeAgent) connect(attempts ...string) []string {
	a.r.t.Helper()
	a.session = a.r.ids.New()
	// What the old session brought is not read any more.
	a.mu.Lock()
	a.got = nil
	a.mu.Unlock()
	live, err := a.r.Connect(a.r.ctx(), Session{ID: a.session, AgentID: a.id, Hostname: a.id, Pool: "default", Labels: a.labels,
		Capacity: &fleetv1.Capacity{Slots: a.slots}, Attempts: attempts}, a)
	if err != nil {
		a.r.t.Fatal(err)
	}
	return live
}

// take waits for the next message that pick accepts, and removes it.
func take[T any](a *fakeAgent, pick func(*fleetv1.SessionResponse) (T, bool)) T {
	a.r.t.Helper()
	deadline := time.NewTimer(2 * time.Minute)
	defer deadline.Stop()
	for {
		a.mu.Lock()
		for i, m := range a.got {
			if v, ok := pick(m); ok {
				a.got = append(a.got[:i:i], a.got[i+1:]...)
				a.mu.Unlock()
				return v
			}
		}
		a.mu.Unlock()
		select {
		case <-a.arrived:
		case <-deadline.C:
			a.r.t.Fatalf("agent %s waited in vain; it has %v, and its sessions ended with %v", a.id, a.got, a.ended)
		}
	}
}

func (a *fakeAgent) offer() *fleetv1.Assignment {
	a.r.t.Helper()
	return a.offerOf("")
}

// offerOf is the next offer of one run, or of any ("").
func (a *fakeAgent) offerOf(runID string) *fleetv1.Assignment {
	a.r.t.Helper()
	as := take(a, func(m *fleetv1.SessionResponse) (*fleetv1.Assignment, bool) {
		as := m.GetOffer().GetAssignment()
		return as, as != nil && (runID == "" || as.GetRunId() == runID)
	})
	a.tokens[as.GetAttemptId()] = as.GetToken()
	return as
}

func (a *fakeAgent) cancelled() string {
	a.r.t.Helper()
	return take(a, func(m *fleetv1.SessionResponse) (string, bool) {
		return m.GetCancel().GetAttemptId(), m.GetCancel() != nil
	})
}

func (a *fakeAgent) killed() string {
	a.r.t.Helper()
	return take(a, func(m *fleetv1.SessionResponse) (string, bool) { return m.GetKill().GetAttemptId(), m.GetKill() != nil })
}

// offers is how many wait to be taken.
func (a *fakeAgent) offers() int {
	a.r.settle()
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for _, m := range a.got {
		if m.GetOffer() != nil {
			n++
		}
	}
	return n
}

func (a *fakeAgent) accept(attempt string) {
	a.r.t.Helper()
	if err := a.r.OfferReply(a.r.ctx(), a.session, &fleetv1.OfferReply{AttemptId: attempt, Accepted: true}); err != nil {
		a.r.t.Fatal(err)
	}
}

func (a *fakeAgent) report(attempt string, state corev1.AttemptState, change ...func(*corev1.Report)) error {
	a.seq[attempt]++
	rep := &corev1.Report{AttemptId: attempt, Seq: a.seq[attempt], State: state}
	if state >= corev1.AttemptState_ATTEMPT_STATE_RUNNING {
		rep.Steps = []*corev1.StepStatus{{Number: 1, Name: "build", State: corev1.StepState_STEP_STATE_RUNNING}}
	}
	for _, f := range change {
		f(rep)
	}
	return a.r.Report(a.r.ctx(), a.session, rep)
}

func (a *fakeAgent) running(attempt string) {
	a.r.t.Helper()
	if err := a.report(attempt, corev1.AttemptState_ATTEMPT_STATE_RUNNING); err != nil {
		a.r.t.Fatal(err)
	}
}

func result(res corev1.Result) func(*corev1.Report) {
	return func(r *corev1.Report) { r.Result = res }
}

func (a *fakeAgent) finish(attempt string, res corev1.Result, change ...func(*corev1.Report)) {
	a.r.t.Helper()
	if err := a.report(attempt, corev1.AttemptState_ATTEMPT_STATE_DONE, append(change, result(res))...); err != nil {
		a.r.t.Fatal(err)
	}
}

// work takes the next offer through to a result, and returns the job's id.
func (a *fakeAgent) work(res corev1.Result) string {
	a.r.t.Helper()
	return a.workOn("", res)
}

// workOn is work on a job of one run, whatever else is offered.
func (a *fakeAgent) workOn(runID string, res corev1.Result) string {
	a.r.t.Helper()
	as := a.offerOf(runID)
	a.accept(as.GetAttemptId())
	a.running(as.GetAttemptId())
	a.finish(as.GetAttemptId(), res)
	return as.GetJobId()
}

const (
	success   = corev1.Result_RESULT_SUCCESS
	failure   = corev1.Result_RESULT_FAILURE
	cancelled = corev1.Result_RESULT_CANCELLED
)

func contextOf(t *testing.T, as *fleetv1.Assignment) map[string]any {
	t.Helper()
	out := map[string]any{}
	if err := json.Unmarshal([]byte(as.GetContexts()), &out); err != nil {
		t.Fatal(err)
	}
	return out
}
