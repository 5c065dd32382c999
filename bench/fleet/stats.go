package fleet

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Stamp begins what a payload says of when its run was submitted: a quoted Unix time in nanoseconds follows, by the clock of this host.
const Stamp = `"submitted_ns":"`

// Payload is an event's payload with a stamp.
func Payload(submitted time.Time) string {
	return "{" + Stamp + strconv.FormatInt(submitted.UnixNano(), 10) + `"}`
}

// Stats are about one interval.
type Stats struct {
	// Offered jobs.
	Offered int `json:"offered"`
	// P50, P99 and Max of the time from the submit to the offer in the agent's hand, in milliseconds.
	P50 float64 `json:"p50"`
	P99 float64 `json:"p99"`
	Max float64 `json:"max"`
	// Error of the first agent that failed; "" for none.
	Error string `json:"error,omitempty"`
}

type stats struct {
	finished atomic.Int64
	mu       sync.Mutex
	waits    []time.Duration
}

func newStats() *stats { return &stats{} }

func (s *stats) offered(contexts string) {
	now := time.Now()
	_, text, found := strings.Cut(contexts, Stamp)
	text, _, _ = strings.Cut(text, `"`)
	ns, err := strconv.ParseInt(text, 10, 64)
	if !found || err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waits = append(s.waits, now.Sub(time.Unix(0, ns)))
}

func (s *stats) take() Stats {
	s.mu.Lock()
	waits := s.waits
	s.waits = nil
	s.mu.Unlock()
	if len(waits) == 0 {
		return Stats{}
	}
	slices.Sort(waits)
	at := func(q float64) float64 {
		return float64(waits[min(int(q*float64(len(waits))), len(waits)-1)]) / float64(time.Millisecond)
	}
	return Stats{Offered: len(waits), P50: at(0.5), P99: at(0.99), Max: at(1)}
}
