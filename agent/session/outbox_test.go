package session

import (
	"testing"
	"time"

	"github.com/slipway-ci/slipway/internal/clock"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

func TestANewerReportWaitsForTheOneBefore(t *testing.T) {
	c := clock.NewFake(time.Unix(0, 0))
	o := newOutbox(c)
	report := func(seq uint64, state corev1.AttemptState) {
		o.report(&corev1.Report{AttemptId: "a", Seq: seq, State: state})
	}
	sends := func(want ...uint64) {
		t.Helper()
		var got []uint64
		for _, m := range o.next() {
			got = append(got, m.GetReport().GetSeq())
		}
		if len(got) != len(want) || len(got) > 0 && got[0] != want[0] {
			t.Errorf("sent %d, want %d", got, want)
		}
	}
	running, done := corev1.AttemptState_ATTEMPT_STATE_RUNNING, corev1.AttemptState_ATTEMPT_STATE_DONE
	report(1, running)
	sends(1)
	report(2, running)
	report(3, running)
	sends()
	o.acked("a", 1)
	sends() // too soon
	c.Advance(reportPause)
	<-o.wake
	sends(3) // the newest only
	report(4, running)
	o.begin() // another session: nothing is in flight
	sends(4)
	report(5, done)
	sends(5) // the end waits for nothing
	o.acked("a", 4)
	sends()
	if o.waiting() != 1 {
		t.Errorf("%d wait, want the end", o.waiting())
	}
	o.acked("a", 5)
	if o.waiting() != 0 {
		t.Errorf("%d wait", o.waiting())
	}
}
