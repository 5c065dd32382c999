package agent_test

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/agent/sandbox/fake"
	"github.com/slipway-ci/slipway/agent/state"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

func TestALostPodIsNoSuccessWhateverTheStepSays(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	h.c.Offer(job("a1", sh("echo begun; exec sleep 600", func(s *planv1.Step) { s.ContinueOnError = lit("true") }), sh("echo deployed")))
	h.c.Wait("the step prints", func() bool { return logOf(h.c.Attempt("a1"), 1) == "begun\n" })
	h.world.KillPod("a1")
	if r := h.c.WaitDone("a1").Last(); r.GetResult() != corev1.Result_RESULT_FAILURE || r.GetFailure().GetCode() != "lost" {
		t.Errorf("result %s, %v", r.GetResult(), r.GetFailure())
	}
}

func TestTheLogOfALostStepIsStoredToItsEnd(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	gate, ended := filepath.Join(h.dir, "gate"), filepath.Join(h.dir, "ended")
	h.c.Offer(job("a1", sh("echo begun; while [ ! -e "+gate+" ]; do sleep 0.02; done; echo last words; touch "+ended+"; exec sleep 600")))
	h.c.Wait("the step prints", func() bool { return logOf(h.c.Attempt("a1"), 1) == "begun\n" })
	h.down()
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "the step has spoken", func() bool { _, err := os.Stat(ended); return err == nil })
	if err := h.world.Open().Remove(context.Background(), "a1"); err != nil {
		t.Fatal(err)
	}
	h.up()
	a := h.c.WaitDone("a1")
	if f := a.Last().GetFailure(); f.GetCode() != "lost" || logOf(a, 1) != "begun\nlast words\n" || len(a.Last().GetLogs()) != 3 {
		t.Errorf("failure %v, log %q, sums %v", f, logOf(a, 1), a.Last().GetLogs())
	}
}

func TestKillEndsWhatCannotBeResumed(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	h.c.Wait("joined", func() bool { return h.c.Sessions() == 1 })
	h.down()
	db, err := state.Open(filepath.Join(h.dir, "data/state"), state.Boot())
	if err != nil {
		t.Fatal(err)
	}
	// An assignment that this version can't read.
	if err := db.Create(&fleetv1.Assignment{AttemptId: "a1"}, &state.Progress{Phase: state.PhaseRunning}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := h.world.Open().Create(context.Background(), sandbox.PodSpec{ID: "a1"}, nil); err != nil {
		t.Fatal(err)
	}
	h.c.Offer(job("a1"))
	h.up()
	h.c.Wait("it is named again", func() bool { return h.c.Sessions() == 2 })
	if len(h.pods()) != 1 {
		t.Fatal("a live attempt was ended")
	}
	h.c.Kill("a1")
	waitUntil(t, "the pod is gone", func() bool { return len(h.pods()) == 0 })
	h.down()
	h.up()
	h.c.Wait("it is held no longer", func() bool { return h.c.Sessions() == 3 && len(h.c.Hellos()[2].GetAttempts()) == 0 })
}

func TestAnAttemptThatCannotBeOpenedLeavesNothing(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	h.c.Offer(job("a1", sh("echo begun; exec sleep 600")))
	h.c.Wait("the step prints", func() bool { return logOf(h.c.Attempt("a1"), 1) == "begun\n" })
	h.down()
	workspace := filepath.Join(h.dir, "data/attempts/a1/workspace")
	if err := os.RemoveAll(workspace); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(workspace, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h.up()
	h.c.WaitReports("a1")
	waitUntil(t, "pod and directories are gone", func() bool {
		e, err := os.ReadDir(filepath.Join(h.dir, "data/attempts"))
		return err == nil && len(e) == 0 && len(h.pods()) == 0
	})
	h.c.Wait("the failure is told", func() bool { return h.c.Attempt("a1").Last().GetResult() == corev1.Result_RESULT_FAILURE })
}
