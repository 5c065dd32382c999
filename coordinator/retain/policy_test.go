package retain_test

import (
	"fmt"
	"testing"

	"github.com/slipway-ci/slipway/coordinator/history"
	"github.com/slipway-ci/slipway/coordinator/retain"
)

const day = 24 * 60 * 60 * 1000

// rows are n runs of a project, one a day, the last one today, of 10 bytes each.
func rows(project string, n int) []history.Row {
	var out []history.Row
	for i := range n {
		out = append(out, history.Row{Run: fmt.Sprintf("%s%d", project, i+1), Project: project, Seq: uint64(i + 1), EndedMS: int64(100-n+i+1) * day, Bytes: 10})
	}
	return out
}

func TestPolicy(t *testing.T) {
	all := rows("p", 10)
	shared := map[string][]history.Reference{"p9": {{Digest: "tree", Size: 50}}, "p10": {{Digest: "tree", Size: 50}}}
	for _, c := range []struct {
		keep retain.Keep
		refs map[string][]history.Reference
		want retain.Expiry
	}{
		{retain.Keep{}, nil, retain.Expiry{}},
		{retain.Keep{Days: 3}, nil, retain.Expiry{UpTo: 7, Reason: retain.ByDays}},
		{retain.Keep{Days: 100}, nil, retain.Expiry{}},
		{retain.Keep{Runs: 4}, nil, retain.Expiry{UpTo: 6, Reason: retain.ByRuns}},
		{retain.Keep{Runs: 10}, nil, retain.Expiry{}},
		{retain.Keep{Bytes: 45}, nil, retain.Expiry{UpTo: 6, Reason: retain.BySize}},
		{retain.Keep{Bytes: 100}, nil, retain.Expiry{}},
		// A blob of two runs counts once.
		{retain.Keep{Bytes: 85}, shared, retain.Expiry{UpTo: 7, Reason: retain.BySize}},
		{retain.Keep{Bytes: 45, Days: 1, Runs: 5}, nil, retain.Expiry{UpTo: 9, Reason: retain.ByDays}},
	} {
		if got := retain.Plan(all, c.refs, c.keep, 100*day); got != c.want {
			t.Errorf("%+v: %+v, want %+v", c.keep, got, c.want)
		}
	}
}

func TestTheQuotaTakesTheOldestOfAllProjects(t *testing.T) {
	all := append(rows("p", 3), rows("q", 5)...)
	for excess, want := range map[int64][2]uint64{0: {0, 0}, 1: {0, 1}, 10: {0, 1}, 25: {1, 2}, 1000: {3, 5}} {
		expired := map[string]retain.Expiry{}
		retain.Shrink(all, nil, expired, excess)
		if got := [2]uint64{expired["p"].UpTo, expired["q"].UpTo}; got != want {
			t.Errorf("%d bytes: %v, want %v", excess, got, want)
		}
	}
	// What another rule took counts, and a blob counts when its last run goes.
	refs := map[string][]history.Reference{"q1": {{Digest: "a", Size: 100}}, "q2": {{Digest: "a", Size: 100}}}
	expired := map[string]retain.Expiry{"q": {UpTo: 1, Reason: retain.ByDays}}
	retain.Shrink(all, refs, expired, 15)
	if expired["q"] != (retain.Expiry{UpTo: 2, Reason: retain.ByQuota}) || expired["p"].UpTo != 0 {
		t.Errorf("%v", expired)
	}
}

// With a look at every run for each that expires it would take an hour.
func TestTheQuotaLooksAtEachRunOnce(t *testing.T) {
	const n = 1_000_000
	all := make([]history.Row, n)
	for i := range all {
		all[i] = history.Row{Run: "r", Project: "p", Seq: uint64(i + 1), EndedMS: int64(i), Bytes: 10}
	}
	expired := map[string]retain.Expiry{}
	retain.Shrink(all, nil, expired, 10*n-5)
	if got := expired["p"].UpTo; got != n {
		t.Errorf("%d of %d expire", got, n)
	}
}

func TestWhatIsBeforeARunInItsChainGoesWithIt(t *testing.T) {
	// The second one ended first, by a clock that was set back.
	all := []history.Row{{Run: "a", Project: "p", Seq: 1, EndedMS: 50, Bytes: 10}, {Run: "b", Project: "p", Seq: 2, EndedMS: 10, Bytes: 10},
		{Run: "c", Project: "p", Seq: 3, EndedMS: 60, Bytes: 10}, {Run: "d", Project: "q", Seq: 1, EndedMS: 20, Bytes: 10}}
	expired := map[string]retain.Expiry{}
	retain.Shrink(all, nil, expired, 15)
	if expired["p"].UpTo != 2 || expired["q"].UpTo != 0 {
		t.Errorf("%v", expired)
	}
}
