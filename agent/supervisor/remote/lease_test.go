package remote_test

import (
	"testing"
	"time"

	"github.com/slipway-ci/slipway/agent/supervisor/proto"
)

const stubborn = `trap 'echo TERM' TERM; echo up; while :; do sleep 0.05; done`

func TestALeaseThatRunsOutEndsTheStepAndWhatComesAfter(t *testing.T) {
	r := newRig(t)
	r.sup.Lease(time.Now().Add(time.Hour), time.Second)
	r.start(sh("a", stubborn))
	r.line("a", "up")
	r.sup.Lease(time.Now(), time.Second)
	if rec := r.record("a"); !rec.Lapsed || !rec.Stopped || !rec.Killed || rec.TimedOut || rec.Signal != 9 {
		t.Errorf("record %+v", rec)
	}
	r.line("a", "TERM")
	// One that is over stays over: its successor may run by now.
	r.sup.Lease(time.Now().Add(time.Hour), time.Second)
	r.start(sh("b", "echo ran"))
	if rec := r.record("b"); rec.Cause != proto.CauseLapsed || r.output("b") != "" {
		t.Errorf("record %+v, output %q", rec, r.output("b"))
	}
}

// TestALeaseRunsOutWithoutItsAgent: nobody is there to end the step.
func TestALeaseRunsOutWithoutItsAgent(t *testing.T) {
	r := newRig(t)
	r.start(sh("a", stubborn))
	r.line("a", "up")
	r.sup.Lease(time.Now().Add(200*time.Millisecond), 0)
	if err := r.sup.Close(); err != nil {
		t.Fatal(err)
	}
	if rec := r.record("a"); !rec.Lapsed || rec.Signal != 9 {
		t.Errorf("record %+v", rec)
	}
}

func TestARenewedLeaseLetsTheStepEnd(t *testing.T) {
	r := newRig(t)
	r.sup.Lease(time.Now().Add(300*time.Millisecond), 0)
	r.sup.Lease(time.Now().Add(time.Hour), 0)
	// It lasts longer than the first lease.
	r.start(sh("a", "sleep 0.5; echo done"))
	if rec := r.record("a"); rec.Code != 0 || rec.Lapsed {
		t.Errorf("record %+v", rec)
	}
}
