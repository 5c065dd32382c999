package measure

import (
	"errors"
	"math"
	"testing"
	"time"
)

func TestQuantileIsNearestRank(t *testing.T) {
	s := Samples{5, 1, 4, 2, 3}
	for q, want := range map[float64]float64{0: 1, 0.5: 3, 0.99: 5, 1: 5, 0.2: 1} {
		if got := s.Quantile(q); got != want {
			t.Errorf("Quantile(%v) = %v, want %v", q, got, want)
		}
	}
	if !math.IsNaN((Samples{}).Quantile(0.5)) {
		t.Error("no samples must give NaN")
	}
}

func TestInterleaveTakesTurnsAndDropsWarmUp(t *testing.T) {
	var order []string
	f := func(name string) func() (time.Duration, error) {
		return func() (time.Duration, error) { order = append(order, name); return time.Millisecond, nil }
	}
	samples, err := Interleave(1, 2, f("a"), f("b"))
	if err != nil {
		t.Fatal(err)
	}
	if len(order) != 6 || order[0] != "a" || order[1] != "b" || order[2] != "a" {
		t.Errorf("order %v", order)
	}
	if len(samples[0]) != 2 || len(samples[1]) != 2 {
		t.Errorf("samples %v", samples)
	}
	failing := errors.New("broken")
	if _, err := Interleave(0, 1, func() (time.Duration, error) { return 0, failing }); !errors.Is(err, failing) {
		t.Errorf("err = %v", err)
	}
}
