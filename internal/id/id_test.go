package id

import (
	"testing"
	"time"
)

func TestIDsAreValidUniqueAndOrdered(t *testing.T) {
	s := NewSource(func() time.Time { return time.UnixMilli(1_700_000_000_000) })
	last := ""
	for range 1000 {
		n := s.New()
		if !Valid(n) || n <= last {
			t.Fatalf("%q after %q", n, last)
		}
		last = n
	}
	if Valid("nope") || Valid("") {
		t.Fatal("accepted garbage")
	}
}
