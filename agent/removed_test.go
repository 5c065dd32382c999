package agent_test

import (
	"testing"

	"github.com/slipway-ci/slipway/agent/sandbox/fake"
)

// TestARemovedAgentEndsItsJobs: it was away when it was removed, and its jobs were given to others.
func TestARemovedAgentEndsItsJobs(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	h.c.Offer(job("a1", sh("echo begun; exec sleep 600")))
	h.c.Wait("the step prints", func() bool { return logOf(h.c.Attempt("a1"), 1) == "begun\n" })
	h.c.Down()
	h.c.Remove()
	h.c.Up()
	waitUntil(t, "the pod is gone", func() bool { return len(h.pods()) == 0 })
}
