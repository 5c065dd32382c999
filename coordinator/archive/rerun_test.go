package archive_test

import (
	"slices"
	"testing"

	"github.com/slipway-ci/slipway/coordinator/engine"
	"github.com/slipway-ci/slipway/coordinator/store"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// again runs one job of a run again, to its end.
func (r *rig) again(run, job string) *apiv1.Run {
	r.t.Helper()
	next, err := r.Engine.Rerun(r.t.Context(), engine.RerunRequest{RequestID: r.NewID(), Run: run, Job: job, By: "bob"})
	if err != nil {
		r.t.Fatal(err)
	}
	changes, err := r.Engine.Watch(r.t.Context(), next.RunID)
	if err != nil {
		r.t.Fatal(err)
	}
	var last *apiv1.Run
	for v := range changes {
		last = v
	}
	if last.GetState() != corev1.RunState_RUN_STATE_SUCCEEDED {
		r.t.Fatalf("attempt %d is %v", next.Attempt, last)
	}
	return r.run(next.RunID)
}

// TestASealedRunIsRunAgain: what a rerun needs is in the bundle, whichever attempts are sealed, and the newest attempt has the number.
func TestASealedRunIsRunAgain(t *testing.T) {
	r := newRig(t)
	r.Artifact = func(job string) []byte { return []byte("artifact of " + job) }
	first := r.finish("team/app", "refs/heads/main", "a", "b")
	if n := r.seal(); n != 1 {
		t.Fatalf("%d runs were sealed", n)
	}
	second := r.again("#1", "a")
	kept := second.GetJobs()[1]
	if second.GetAttempt() != 2 || second.GetNumber() != 1 || kept.GetKeptFrom() != first || kept.GetState() != corev1.JobState_JOB_STATE_SUCCEEDED {
		t.Errorf("the second attempt is %v", second)
	}
	names := func(v *apiv1.Run) (out []string) {
		for _, a := range v.GetArtifacts() {
			out = append(out, a.GetName())
		}
		slices.Sort(out)
		return out
	}
	if got := names(second); !slices.Equal(got, []string{"result-a", "result-b"}) {
		t.Errorf("artifacts %v", got)
	}
	third := r.again("#1", "b") // of one that is in the store
	if third.GetAttempt() != 3 || third.GetJobs()[0].GetKeptFrom() != second.GetId() {
		t.Errorf("the third attempt is %v", third)
	}
	if n := r.seal(); n != 2 {
		t.Errorf("%d more were sealed", n)
	}
	if left := r.inStore(); len(left) > 0 {
		t.Errorf("left in the store: %v", left)
	}
	if kvs, _, err := r.store.Range(t.Context(), "/slipway/v1/again/", store.PrefixEnd("/slipway/v1/again/"), 0); err != nil || len(kvs) > 0 {
		t.Errorf("left in the store: %v, %v", kvs, err)
	}
	for name, want := range map[string]string{"#1": third.GetId(), "#1.1": first, "#1.2": second.GetId(), "#1.3": third.GetId(), first + ".3": third.GetId()} {
		if v := r.run(name); v.GetId() != want {
			t.Errorf("%s is %s, want %s", name, v.GetId(), want)
		}
	}
	if logs := r.sealedLogs(third.GetId()); len(logs) != 1 || logs["b"] != "this is job b\n" {
		t.Errorf("logs of the third attempt: %v", logs)
	}
	if n := r.check(); n != 3 {
		t.Errorf("%d bundles", n)
	}
	r.lead()
	if next := r.run(r.finish("team/app", "refs/heads/main", "a")); next.GetNumber() != 2 {
		t.Errorf("the next run is #%d", next.GetNumber())
	}
}
