package agent_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/agent/sandbox/fake"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// TestALeaseIsKeptForAsLongAsTheCoordinatorAnswers: the job lasts for several lengths of it.
func TestALeaseIsKeptForAsLongAsTheCoordinatorAnswers(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	a := job("a1", sh("sleep 4"), sh("echo whole"))
	a.LeaseMs = 1500
	h.c.Offer(a)
	if a := h.c.WaitDone("a1"); a.Last().GetResult() != corev1.Result_RESULT_SUCCESS || logOf(a, 2) != "whole\n" {
		t.Errorf("result %v, log %q", a.Last().GetFailure(), logOf(a, 2))
	}
}

// TestALeaseRunsOutWithoutACoordinator: whatever the job would still do might be done by its successor, so nothing of it goes on.
func TestALeaseRunsOutWithoutACoordinator(t *testing.T) {
	for name, agentToo := range map[string]bool{"the agent is there": false, "the agent is away too": true} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, fake.Options{})
			h.up()
			gate, after := filepath.Join(h.dir, "gate"), filepath.Join(h.dir, "after")
			free := job("free", sh("echo begun; while [ ! -e "+gate+" ]; do sleep 0.02; done"), sh("echo whole"))
			held := job("held", sh("echo begun; while [ ! -e "+gate+" ]; do sleep 0.02; done"), sh("touch "+after))
			held.LeaseMs = 700
			h.c.Offer(free)
			h.c.Offer(held)
			h.c.Wait("both run", func() bool {
				return logOf(h.c.Attempt("free"), 1) == "begun\n" && logOf(h.c.Attempt("held"), 1) == "begun\n"
			})
			h.c.Down()
			if agentToo {
				h.down()
			}
			over := time.Now().Add(2 * time.Second)
			waitUntil(t, "the lease is over", func() bool { return time.Now().After(over) })
			if err := os.WriteFile(gate, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			h.c.Up()
			if agentToo {
				h.up()
			}
			if r := h.c.WaitDone("held").Last(); r.GetResult() != corev1.Result_RESULT_FAILURE || r.GetFailure().GetCode() != "lost" {
				t.Errorf("the job on a lease: %s, %v", r.GetResult(), r.GetFailure())
			} else if !agentToo && !strings.Contains(r.GetFailure().GetMessage(), "no word from its coordinator for 700ms") {
				t.Errorf("failure %q", r.GetFailure().GetMessage())
			}
			if _, err := os.Stat(after); err == nil {
				t.Error("its next step ran")
			}
			waitUntil(t, "the attempt on a lease is forgotten", func() bool {
				_, err := os.Stat(filepath.Join(h.dir, "data/attempts/held"))
				return os.IsNotExist(err)
			})
			h.c.Wait("the log of the step that was cut off is whole", func() bool {
				l := h.c.Attempt("held").Logs[1]
				return l.Ended && string(l.Bytes) == "begun\n"
			})
			if a := h.c.WaitDone("free"); a.Last().GetResult() != corev1.Result_RESULT_SUCCESS || logOf(a, 2) != "whole\n" {
				t.Errorf("the other job: %v, log %q", a.Last().GetFailure(), logOf(a, 2))
			}
		})
	}
}
