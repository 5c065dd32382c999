package server

import (
	"runtime"
	"runtime/debug"
	"time"
)

// The collector runs when the heap has grown by a part of what lives. A busy coordinator allocates much more than lives: at 2,000 jobs a second the
// collector took a fifth of the processor with Go's default of 100, and would run five times a second. One whose agents are idle allocates little, and
// what agents keep for days, among what was needed while they connected, holds the more memory the more the heap had grown by then.
const (
	leastGC, mostGC = 100, 300
	// gcEvery is the time between two collections that is worth a larger heap.
	gcEvery = time.Second
)

// TuneGC sets the collector for a process that is a coordinator, unless whoever started it has decided (GOGC, GOMEMLIMIT).
func TuneGC(getenv func(string) string) {
	if getenv("GOGC") != "" || getenv("GOMEMLIMIT") != "" {
		return
	}
	debug.SetGCPercent(leastGC)
	followGC(leastGC, time.Now())
}

// cycle is what is collected in each cycle of the collector. It is not so small that it would share its memory with something else.
type cycle struct{ _ [64]byte }

// followGC looks at the collector after its next cycle, and so on.
func followGC(percent int, last time.Time) {
	runtime.AddCleanup(&cycle{}, func(percent int) {
		now := time.Now()
		next := nextGC(percent, now.Sub(last))
		if next != percent {
			debug.SetGCPercent(next)
		}
		followGC(next, now)
	}, percent)
}

// nextGC is the percentage with which, at the pace of now, a second would go by between two cycles, within bounds.
func nextGC(percent int, since time.Duration) int {
	if since <= 0 {
		return mostGC
	}
	return int(min(max(int64(percent)*int64(gcEvery)/int64(since), leastGC), mostGC))
}
