package engine

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/coordinator/store"
	"github.com/slipway-ci/slipway/coordinator/store/faultstore"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// record is a job as it is in the store.
func (r *rig) record(runID, jobID string) *statev1.JobRecord {
	r.t.Helper()
	r.settle()
	stored, err := readRun(r.ctx(), r.store, runID)
	if err != nil || stored == nil {
		r.t.Fatalf("run %s: %v, %v", runID, stored, err)
	}
	for _, j := range stored.jobs {
		if j.rec.GetId() == jobID {
			return j.rec
		}
	}
	r.t.Fatalf("run %s has no job %s in the store", runID, jobID)
	return nil
}

// transitions counts those that were proposed since a call of Commits that returned before of them.
func (r *rig) transitions(before int) int {
	r.settle()
	n := 0
	for _, txn := range r.store.Commits()[before:] {
		n += len(txn.Branches)
	}
	return n
}

// taken is how many places of the fleet are reserved.
func (r *rig) taken() int {
	r.t.Helper()
	n := 0
	if err := r.ask(r.ctx(), func(reply func(error)) {
		for _, a := range r.agents {
			n += len(a.held)
		}
		reply(nil)
	}); err != nil {
		r.t.Fatal(err)
	}
	return n
}

func TestAnAcceptanceIsStoredWithTheNextReport(t *testing.T) {
	r := newRig(t)
	a := r.agent("a", 1)
	runID := r.submit(plan(job("build")))
	as := a.offer()
	r.settle()
	before := len(r.store.Commits())
	a.accept(as.GetAttemptId())
	a.accept(as.GetAttemptId()) // the message came twice
	if n := r.transitions(before); n != 0 {
		t.Fatalf("an acceptance made %d transitions", n)
	}
	// Who leads now knows nothing of it, and the attempt lives on.
	r.restart()
	if got := r.record(runID, "build").GetAttempt().GetState(); got != corev1.AttemptState_ATTEMPT_STATE_OFFERED {
		t.Fatalf("it is stored as %s", got)
	}
	if live := a.connect(as.GetAttemptId()); !slices.Equal(live, []string{as.GetAttemptId()}) {
		t.Fatalf("live on %v", live)
	}
	r.settle()
	before = len(r.store.Commits())
	a.accept(as.GetAttemptId())
	if err := a.report(as.GetAttemptId(), corev1.AttemptState_ATTEMPT_STATE_PREPARING); err != nil {
		t.Fatal(err)
	}
	if n := r.transitions(before); n != 1 {
		t.Fatalf("acceptance and report made %d transitions", n)
	}
	a.finish(as.GetAttemptId(), success)
	r.want(runID, "succeeded build:succeeded")
}

func TestACancelAfterAnAcceptanceStoresBoth(t *testing.T) {
	r := newRig(t)
	a := r.agent("a", 1)
	runID := r.submit(plan(job("build")))
	as := a.offer()
	a.accept(as.GetAttemptId())
	if err := r.Cancel(r.ctx(), r.ids.New(), runID, "enough"); err != nil {
		t.Fatal(err)
	}
	if a.cancelled() != as.GetAttemptId() {
		t.Fatal("another attempt is cancelled")
	}
	if att := r.record(runID, "build").GetAttempt(); att.GetState() != corev1.AttemptState_ATTEMPT_STATE_ACCEPTED || !att.GetCancelRequested() {
		t.Fatalf("%v", att)
	}
	a.finish(as.GetAttemptId(), cancelled)
	r.want(runID, "cancelled build:cancelled")
}

func TestSmallRunsAreCreatedAsAssigned(t *testing.T) {
	r := newRig(t)
	a := r.agent("a", 2)
	r.settle()
	before := len(r.store.Commits())
	runID := r.submit(plan(job("one"), job("two"), job("three")))
	if x, y := a.offer().GetJobId(), a.offer().GetJobId(); x != "one" || y != "two" {
		t.Fatalf("offered %s and %s", x, y)
	}
	if n := r.transitions(before); n != 1 {
		t.Fatalf("creation and two assignments made %d transitions", n)
	}
	// The one that found no place is queued, and its turn comes.
	r.want(runID, "running one:assigned two:assigned three:queued")
	b := r.agent("b", 1)
	if got := b.work(success); got != "three" {
		t.Fatalf("b was offered %s", got)
	}
	r.want(runID, "running one:assigned two:assigned three:succeeded")
}

func TestNothingIsOfferedBeforeTheCreationIsCommitted(t *testing.T) {
	r := newRig(t)
	a := r.agent("a", 1)
	r.settle()
	r.store.Plan(faultstore.Held)
	done := make(chan error, 1)
	sub := r.submission(plan(job("build")))
	go func() {
		_, _, err := r.Submit(t.Context(), sub)
		done <- err
	}()
	<-r.store.Holding()
	if n := r.taken(); n != 1 {
		t.Fatalf("%d places are taken", n)
	}
	a.mu.Lock()
	got := len(a.got)
	a.mu.Unlock()
	select {
	case err := <-done:
		t.Fatalf("answered before the commit: %v", err)
	default:
	}
	r.store.Release()
	if err := <-done; err != nil || got != 0 {
		t.Fatalf("%v; %d messages before the commit", err, got)
	}
	if as := a.offer(); as.GetJobId() != "build" {
		t.Fatalf("%v", as)
	}
}

// The rest after a plan keeps nobody from submitting.
func TestASubmitDoesNotWaitForTheRestAfterAPlan(t *testing.T) {
	r := newRig(t)
	a := r.agent("a", 1)
	r.settle()
	if err := r.ask(r.ctx(), func(reply func(error)) { r.rest(longestPlan); reply(nil) }); err != nil {
		t.Fatal(err)
	}
	runID := r.submit(plan(job("build")))
	if as := a.offer(); as.GetRunId() != runID {
		t.Fatalf("%v", as)
	}
}

func TestARefusedCreationGivesItsPlacesBack(t *testing.T) {
	r := newRig(t)
	a := r.agent("a", 1)
	sub := r.submission(plan(job("build")))
	first, _, err := r.Submit(r.ctx(), sub)
	if err != nil {
		t.Fatal(err)
	}
	a.work(success)
	r.settle()
	// The repeat is prepared as a new run, and its creation conflicts.
	again, number, err := r.Submit(r.ctx(), sub)
	if err != nil || again != first || number != 1 {
		t.Fatalf("%s #%d, %v; want %s", again, number, err, first)
	}
	r.settle()
	if n, offers := r.taken(), a.offers(); n != 0 || offers != 0 {
		t.Fatalf("%d places are taken, %d offers", n, offers)
	}
	next := r.submit(plan(job("build")))
	if as := a.offer(); as.GetRunId() != next {
		t.Fatalf("%v", as)
	}
	if v := r.run(next); v.GetNumber() != 2 {
		t.Fatalf("it has number %d", v.GetNumber())
	}
}

func TestLargeRunsAreCreatedBeforeTheyAreAssigned(t *testing.T) {
	r := newRig(t)
	a := r.agent("a", 1)
	r.settle()
	before := len(r.store.Commits())
	var jobs []*planv1.Job
	for i := range freshJobs + 1 {
		jobs = append(jobs, job(fmt.Sprintf("job%d", i)))
	}
	r.submit(plan(jobs...))
	a.offer()
	if n := r.transitions(before); n != 2 {
		t.Fatalf("it took %d transitions, want the creation and one assignment", n)
	}
}

func TestARunThatTheStoreCannotTakeLeavesNoPlaceTaken(t *testing.T) {
	r := newRig(t)
	r.agent("a", 1)
	r.settle()
	sub := r.submission(plan(job("build")))
	sub.EventPayload = `{"large":"` + strings.Repeat("x", store.MaxTxnBytes) + `"}`
	if _, _, err := r.Submit(r.ctx(), sub); rpcerr.ReasonOf(err) != rpcerr.InvalidRequest {
		t.Fatalf("%v", err)
	}
	if n := r.taken(); n != 0 {
		t.Fatalf("%d places are taken", n)
	}
}

// What follows from a job that ends while its run is created is not forgotten.
func TestARunWhoseJobCannotBeOfferedEnds(t *testing.T) {
	r := newRig(t)
	r.agent("a", 1)
	sub := r.submission(plan(job("build"), job("after", "build")))
	// Its contexts are larger than it, and than an assignment may carry: numbers are written out in them.
	sub.EventPayload = `{"large":[` + strings.Repeat("1e20,", 150_000) + `0]}`
	runID, _, err := r.Submit(r.ctx(), sub)
	if err != nil {
		t.Fatal(err)
	}
	r.settle()
	if n := r.taken(); n != 0 {
		t.Errorf("%d places are taken", n)
	}
	r.want(runID, "failed build:failed after:skipped")
}

// What comes for a run while it waits to be created, from a concurrency group for example, is handled once it is there.
func TestWhatComesForARunThatWaitsToBeCreatedIsKept(t *testing.T) {
	r := newRig(t)
	a := r.agent("a", 1)
	s := r.submission(plan(job("build")))
	x, err := newRun(&statev1.RunDefinition{Id: r.ids.New(), RequestId: s.RequestID, Project: s.Project, Path: s.Plan.GetPath(), Event: s.Event, Source: s.Source,
		PlanDigest: s.PlanDigest}, s.Plan, 0)
	if err != nil {
		t.Fatal(err)
	}
	early := true
	if err := r.ask(r.ctx(), func(reply func(error)) {
		r.Engine.submit(x, func(_ string, _ uint64, err error) { reply(err) })
		r.enqueue(x, func(*draft) { early = r.runs[x.id] == nil })
	}); err != nil {
		t.Fatal(err)
	}
	if as := a.offer(); as.GetRunId() != x.id {
		t.Fatalf("%v", as)
	}
	if r.settle(); early {
		t.Error("it was handled before the run was committed")
	}
}
