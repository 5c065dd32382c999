package agent_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/agent/sandbox/fake"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

func TestADrainingAgentLeavesWhenItsJobsHaveEnded(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	gate := filepath.Join(h.dir, "gate")
	h.c.Offer(job("a1", sh("echo begun; while [ ! -e "+gate+" ]; do sleep 0.02; done; echo ended")))
	h.c.Wait("the step prints", func() bool { return logOf(h.c.Attempt("a1"), 1) == "begun\n" })
	h.agent.Drain(time.Hour, "told to stop")
	h.c.Wait("the coordinator is told", func() bool {
		d := h.c.Drained()
		return d != nil && d.GetReason() == "told to stop" && d.GetDeadlineMs() > 3_500_000
	})
	h.c.Offer(job("a2", sh("echo no")))
	h.c.Wait("further work is refused", func() bool { return h.c.Attempt("a2").Rejected != "" })
	// A connection that breaks meanwhile: the next one says it again.
	h.c.Down()
	h.c.Up()
	h.c.Wait("the next Hello says it", func() bool {
		hellos := h.c.Hellos()
		return len(hellos) == 2 && hellos[1].GetDrain().GetReason() == "told to stop"
	})
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	a := h.c.WaitDone("a1")
	if logOf(a, 1) != "begun\nended\n" || a.Last().GetResult() != corev1.Result_RESULT_SUCCESS {
		t.Errorf("log %q, result %s", logOf(a, 1), a.Last().GetResult())
	}
	h.left()
	if len(h.pods()) != 0 {
		t.Errorf("pods left: %v", h.pods())
	}
	// The next process takes work again.
	h.up()
	h.c.Wait("it is back", func() bool { return len(h.c.Hellos()) == 3 })
	if d := h.c.Hellos()[2].GetDrain(); d != nil {
		t.Errorf("a new process drains: %v", d)
	}
	run(t, h, "a3", sh("echo hi"))
}

func TestAtItsDeadlineADrainingAgentLeavesItsJobsToTheNext(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	gate := filepath.Join(h.dir, "gate")
	h.c.Offer(job("a1", sh("echo begun; while [ ! -e "+gate+" ]; do sleep 0.02; done; echo ended"), sh("echo second")))
	h.c.Wait("the step prints", func() bool { return logOf(h.c.Attempt("a1"), 1) == "begun\n" })
	h.agent.Drain(10*time.Millisecond, "told to stop")
	h.left()
	if pods := h.pods(); len(pods) != 1 {
		t.Fatalf("the job did not live on: pods %v", pods)
	}
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h.up()
	a := h.c.WaitDone("a1")
	if logOf(a, 1) != "begun\nended\n" || logOf(a, 2) != "second\n" || a.Last().GetResult() != corev1.Result_RESULT_SUCCESS {
		t.Errorf("logs %q, %q, result %s", logOf(a, 1), logOf(a, 2), a.Last().GetResult())
	}
}

func TestADrainOfAnIdleAgentIsOverAtOnce(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	h.c.Wait("connected", func() bool { return h.c.Sessions() == 1 })
	h.agent.Drain(time.Hour, "told to stop")
	h.left()
}
