// Package id makes the identifiers of runs, attempts, sessions and requests: ULIDs, lower-case, sortable by time.
package id

import (
	"crypto/rand"
	"strings"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
)

// Source makes ids. Safe for concurrent use; ids of one source grow monotonically.
type Source struct {
	mu      sync.Mutex
	now     func() time.Time
	entropy *ulid.MonotonicEntropy
}

// NewSource returns a source on the given clock, with cryptographic entropy.
func NewSource(now func() time.Time) *Source {
	return &Source{now: now, entropy: ulid.Monotonic(rand.Reader, 0)}
}

// New returns a fresh id: 26 characters of Crockford's base 32.
func (s *Source) New() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.ToLower(ulid.MustNew(ulid.Timestamp(s.now()), s.entropy).String())
}

// First returns what sorts before every id of time t and after every earlier one.
func First(t time.Time) string {
	var first ulid.ULID
	if first.SetTime(ulid.Timestamp(t)) != nil {
		return "" // before 1970 or after 10889: no id was made then
	}
	return strings.ToLower(first.String())
}

// Valid says whether s looks like an id that New made.
func Valid(s string) bool {
	_, err := ulid.ParseStrict(strings.ToUpper(s))
	return err == nil
}
