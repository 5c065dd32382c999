package server

import (
	"testing"
	"time"
)

func TestTheHeapGrowsByMoreOnlyWhereTheCollectorIsBusy(t *testing.T) {
	for _, c := range []struct {
		percent int
		since   time.Duration
		want    int
	}{
		{100, 2 * time.Minute, 100}, {100, time.Second, 100}, {100, 500 * time.Millisecond, 200}, {100, 10 * time.Millisecond, 300}, {100, 0, 300},
		{300, time.Second, 300}, {300, 1500 * time.Millisecond, 200}, {300, time.Hour, 100}, {200, 2 * time.Second, 100},
	} {
		if got := nextGC(c.percent, c.since); got != c.want {
			t.Errorf("%d %%, a cycle after %v: %d, want %d", c.percent, c.since, got, c.want)
		}
	}
}
