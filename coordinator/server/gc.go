package server

import "runtime/debug"

// gcPercent lets the heap grow to four times what lives. A coordinator's live heap is small beside what it allocates: at 2,000 jobs a second the
// collector took a fifth of the processor with Go's default of 100.
const gcPercent = 300

// TuneGC sets the collector for a process that is a coordinator, unless whoever started it has decided (GOGC, GOMEMLIMIT).
func TuneGC(getenv func(string) string) {
	if getenv("GOGC") == "" && getenv("GOMEMLIMIT") == "" {
		debug.SetGCPercent(gcPercent)
	}
}
