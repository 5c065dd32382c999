package engine

import (
	"errors"
	"testing"

	"github.com/slipway-ci/slipway/internal/rpcerr"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

func TestArtifacts(t *testing.T) {
	r := newRig(t)
	a := r.agent("a", 1)
	runID := r.submit(plan(job("build")))
	as := a.offer()
	ref, err := r.Attempt(r.ctx(), "a", as.GetAttemptId(), as.GetToken())
	if err != nil {
		t.Fatal(err)
	}
	add := func(name, digest string, overwrite bool) error {
		return r.AddArtifact(r.ctx(), ref, &corev1.Artifact{Name: name, Digest: digest}, overwrite)
	}
	if err := errors.Join(add("junit", "1", false), add("junit", "1", false), add("dist", "2", false), add("dist", "3", true)); err != nil {
		t.Fatal(err)
	}
	if err := add("junit", "9", false); rpcerr.ReasonOf(err) != rpcerr.AlreadyExists {
		t.Fatalf("%v", err)
	}
	arts := r.run(runID).GetArtifacts()
	if len(arts) != 2 || arts[0].GetDigest() != "1" || arts[1].GetDigest() != "3" {
		t.Fatalf("%v", arts)
	}
	a.finish(as.GetAttemptId(), success)
	if err := add("late", "1", false); rpcerr.ReasonOf(err) != rpcerr.Fenced {
		t.Fatalf("%v", err)
	}
	if _, err := r.Attempt(r.ctx(), "a", as.GetAttemptId(), as.GetToken()); err != nil {
		t.Fatalf("a finished attempt can't deliver its last log bytes: %v", err)
	}
}

// A job that is tried again uploads again: what its lost attempt left must not stop it.
func TestARetryReplacesTheArtifactsOfItsEarlierAttempt(t *testing.T) {
	r := newRig(t)
	a := r.agent("a", 2)
	flaky := job("flaky")
	flaky.Retry = &planv1.Retry{Attempts: 2, On: []string{"failure"}}
	runID := r.submit(plan(flaky, job("other")))
	upload := func(as *fleetv1.Assignment, digest string) error {
		ref, err := r.Attempt(r.ctx(), "a", as.GetAttemptId(), as.GetToken())
		if err != nil {
			t.Fatal(err)
		}
		return r.AddArtifact(r.ctx(), ref, &corev1.Artifact{Name: "junit", Digest: digest, JobId: ref.JobID, AttemptId: ref.AttemptID}, false)
	}
	first, other := a.offer(), a.offer()
	if err := upload(first, "1"); err != nil {
		t.Fatal(err)
	}
	a.finish(first.GetAttemptId(), failure)
	second := a.offer()
	if err := upload(second, "2"); err != nil {
		t.Fatal(err)
	}
	for _, again := range []*fleetv1.Assignment{second, other} {
		if err := upload(again, "3"); rpcerr.ReasonOf(err) != rpcerr.AlreadyExists {
			t.Fatalf("%s: %v", again.GetJobId(), err)
		}
	}
	if arts := r.run(runID).GetArtifacts(); len(arts) != 1 || arts[0].GetDigest() != "2" {
		t.Fatalf("%v", arts)
	}
}
