package engine

import (
	"testing"
	"time"
)

// TestCancelOfARunAndOfAnAttempt: a number means the run, with what its earlier attempts hold; any other name one attempt of it.
func TestCancelOfARunAndOfAnAttempt(t *testing.T) {
	r := newRig(t)
	a := r.agent("a1", 3)
	first := r.holding(plan(job("test")))
	a.failHeld()
	r.want(first, "failed test:failed")
	second := r.rerun("#1").RunID
	a.failHeld()
	r.want(second, "failed test:failed")
	third := r.rerun("#1").RunID
	a.failHeld()
	r.want(third, "failed test:failed")
	wantHeld := func(after string, want ...string) {
		t.Helper()
		for _, id := range []string{first, second, third} {
			held := r.job(id, "test").GetHeld().GetReleasedMs() == 0
			is := false
			for _, w := range want {
				is = is || w == id
			}
			if held != is {
				t.Errorf("%s: attempt %s is held: %v", after, id, held)
			}
		}
	}
	cancel := func(name string) {
		t.Helper()
		if err := r.Cancel(r.ctx(), r.ids.New(), name, "enough"); err != nil {
			t.Fatal(err)
		}
		r.settle()
	}
	wantHeld("before", first, second, third)
	cancel(third)
	wantHeld("the newest by its id", first, second)
	cancel("#1.1")
	wantHeld("the first by its number", second)
	cancel("#1")
	wantHeld("the run")
	cancel("#1") // nothing is left to be done
	if r.slots() != 0 {
		t.Errorf("%d slots are in use", r.slots())
	}
}

// TestARerunHoldsAsItIsTold, and without a word as the attempt before.
func TestARerunHoldsAsItIsTold(t *testing.T) {
	r := newRig(t)
	a := r.agent("a1", 1)
	runID := r.submit(plan(job("test")))
	a.work(failure)
	r.want(runID, "failed test:failed")
	for i, tt := range []struct{ hold, want time.Duration }{{0, 0}, {lease, lease}, {0, lease}, {2 * lease, 2 * lease}} {
		again := r.rerun("#1", func(q *RerunRequest) { q.Hold = tt.hold })
		as := a.offer()
		if got := time.Duration(as.GetHoldMs()) * time.Millisecond; got != tt.want {
			t.Errorf("rerun %d is held for %v, want %v", i+1, got, tt.want)
		}
		a.accept(as.GetAttemptId())
		a.running(as.GetAttemptId())
		a.finish(as.GetAttemptId(), failure)
		r.want(again.RunID, "failed test:failed")
	}
}
