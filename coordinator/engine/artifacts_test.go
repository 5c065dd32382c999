package engine

import (
	"errors"
	"testing"

	"github.com/slipway-ci/slipway/internal/rpcerr"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
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
