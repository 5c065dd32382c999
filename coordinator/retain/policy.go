package retain

import (
	"cmp"
	"slices"

	"github.com/slipway-ci/slipway/coordinator/history"
)

// Keep says how much of a project's finished runs is kept; 0 is all.
type Keep struct {
	Days, Runs, Bytes int64
}

// The rules that let a run expire.
const (
	ByDays  = "days"
	ByRuns  = "runs"
	BySize  = "size"
	ByQuota = "quota"
)

const day = 24 * 60 * 60 * 1000

// Expiry says up to which place a chain expires, and by which rule; 0 is nothing.
type Expiry struct {
	UpTo   uint64
	Reason string
}

func (e *Expiry) raise(upTo uint64, reason string) {
	if upTo > e.UpTo {
		*e = Expiry{UpTo: upTo, Reason: reason}
	}
}

// Plan decides about the runs of one project, given oldest first. refs are the blobs that they keep alive, by run.
func Plan(rows []history.Row, refs map[string][]history.Reference, k Keep, nowMS int64) Expiry {
	var e Expiry
	if k.Days > 0 {
		for _, r := range rows {
			if r.EndedMS+k.Days*day > nowMS {
				break
			}
			e.raise(r.Seq, ByDays)
		}
	}
	if n := int64(len(rows)); k.Runs > 0 && n > k.Runs {
		e.raise(rows[n-k.Runs-1].Seq, ByRuns)
	}
	if k.Bytes > 0 {
		sum := int64(0)
		seen := map[string]bool{}
		for _, r := range slices.Backward(rows) {
			sum += r.Bytes
			for _, ref := range refs[r.Run] {
				if !seen[ref.Digest] {
					seen[ref.Digest] = true
					sum += ref.Size
				}
			}
			if sum > k.Bytes {
				e.raise(r.Seq, BySize)
				break
			}
		}
	}
	return e
}

// Shrink lets the runs of all projects expire, the oldest first, until at least excess bytes are free. It returns what it expires by project.
// expired are decided already.
func Shrink(rows []history.Row, refs map[string][]history.Reference, expired map[string]Expiry, excess int64) {
	users := map[string]int{}
	for _, r := range rows {
		for _, ref := range refs[r.Run] {
			users[ref.Digest]++
		}
	}
	drop := func(r history.Row) {
		excess -= r.Bytes
		for _, ref := range refs[r.Run] {
			if users[ref.Digest]--; users[ref.Digest] == 0 {
				excess -= ref.Size
			}
		}
	}
	var left []history.Row
	chains := map[string][]history.Row{}
	for _, r := range rows {
		if r.Seq <= expired[r.Project].UpTo {
			drop(r)
		} else {
			left = append(left, r)
			chains[r.Project] = append(chains[r.Project], r)
		}
	}
	for _, chain := range chains {
		slices.SortFunc(chain, func(a, b history.Row) int { return cmp.Compare(a.Seq, b.Seq) })
	}
	slices.SortStableFunc(left, func(a, b history.Row) int { return int(min(1, max(-1, a.EndedMS-b.EndedMS))) })
	for _, r := range left {
		if excess <= 0 {
			return
		}
		// Whatever is before it in its chain goes with it; most of the time that is gone already.
		if e := expired[r.Project]; r.Seq > e.UpTo {
			chain := chains[r.Project]
			for len(chain) > 0 && chain[0].Seq <= r.Seq {
				drop(chain[0])
				chain = chain[1:]
			}
			chains[r.Project] = chain
			e.raise(r.Seq, ByQuota)
			expired[r.Project] = e
		}
	}
}
