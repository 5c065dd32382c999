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

func TestFirstParts(t *testing.T) {
	at := time.UnixMilli(1_700_000_000_000)
	before, then := NewSource(func() time.Time { return at.Add(-time.Millisecond) }).New(), NewSource(func() time.Time { return at }).New()
	if first := First(at); before >= first || first >= then {
		t.Fatalf("%s, %s, %s", before, first, then)
	}
	if First(time.UnixMilli(-1)) != "" {
		t.Fatal("an id from before 1970")
	}
}
