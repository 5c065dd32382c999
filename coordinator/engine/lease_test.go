package engine

import (
	"testing"
	"time"

	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// TestAHolderOfAGroupIsGivenUpWhenItMustHaveEnded: its agent ends it at grace − margin, so its successor may begin at grace + margin. A job
// without a group outlives any outage, and is given up at the grace.
func TestAHolderOfAGroupIsGivenUpWhenItMustHaveEnded(t *testing.T) {
	for _, tt := range []struct {
		name string
		plan func() *planv1.Plan
	}{
		{"the run", func() *planv1.Plan {
			return inGroup(plan(job("deploy")), &planv1.Concurrency{Group: lit("prod"), Queue: lit("max")})
		}},
		{"the job", func() *planv1.Plan {
			p := plan(job("deploy"))
			p.Jobs[0].Concurrency = &planv1.Concurrency{Group: lit("prod"), Queue: lit("max")}
			return p
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			a := r.agent("a", 9)
			holder, free, next := r.submit(tt.plan()), r.submit(plan(job("build"))), r.submit(tt.plan())
			margin := r.c.Grace / 6
			for range 2 {
				as := a.offer()
				want := time.Duration(0)
				if as.GetJobId() == "deploy" {
					want = r.c.Grace - margin
				}
				if got := time.Duration(as.GetLeaseMs()) * time.Millisecond; got != want {
					t.Errorf("job %s is on a lease of %s, want %s", as.GetJobId(), got, want)
				}
				a.running(as.GetAttemptId())
			}
			r.Disconnect("a", a.session)
			r.settle()
			b := r.agent("b", 9)
			r.advance(r.c.Grace, b)
			r.want(free, "failed build:failed")
			r.advance(margin-time.Second, b)
			r.want(holder, "running deploy:running")
			if jobs := r.run(next).GetJobs(); jobs[0].GetStartedMs() != 0 || b.offers() != 0 {
				t.Fatalf("the next holder has begun: %v", jobs)
			}
			r.advance(2*time.Second, b)
			r.want(holder, "failed deploy:failed")
			if as := b.offer(); as.GetRunId() != next {
				t.Errorf("run %s was offered", as.GetRunId())
			}
		})
	}
}

func TestHeartbeatsAreAcknowledgedToTheSessionThatSentThem(t *testing.T) {
	r := newRig(t)
	a := r.agent("a", 1)
	old := a.session
	a.connect()
	r.AckHeartbeat("a", old, 1)
	r.AckHeartbeat("b", a.session, 2)
	r.AckHeartbeat("a", a.session, 3)
	r.settle()
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.got) != 1 || a.got[0].GetHeartbeatAck().GetEcho() != 3 {
		t.Errorf("messages %v", a.got)
	}
}
