// Package measure holds what every benchmark shares: samples, percentiles, interleaving with a baseline, and the results file.
package measure

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"sort"
	"time"
)

// Better says in which direction a value improves.
type Better string

// The two directions.
const (
	Lower  Better = "lower"
	Higher Better = "higher"
)

// Result is one line of bench/results.json. Ratio is Value / Baseline.
type Result struct {
	Name     string  `json:"name"`
	Value    float64 `json:"value"`
	Unit     string  `json:"unit"`
	Better   Better  `json:"better"`
	Baseline float64 `json:"baseline"`
	Ratio    float64 `json:"ratio"`
	N        int     `json:"n"`
	P50      float64 `json:"p50"`
	P99      float64 `json:"p99"`
	// Against says what the baseline is.
	Against string `json:"against"`
}

// Samples are measurements in one unit.
type Samples []float64

// Milliseconds appends d.
func (s *Samples) Milliseconds(d time.Duration) {
	*s = append(*s, float64(d)/float64(time.Millisecond))
}

// Quantile returns the nearest-rank quantile, q in [0, 1]; NaN when there are no samples.
func (s Samples) Quantile(q float64) float64 {
	if len(s) == 0 {
		return math.NaN()
	}
	sorted := append(Samples(nil), s...)
	sort.Float64s(sorted)
	rank := int(math.Ceil(q*float64(len(sorted)))) - 1
	return sorted[max(rank, 0)]
}

// Compare makes a result whose value is the median of ours, against the median of the baseline.
func Compare(name, unit string, better Better, ours, baseline Samples, against string) Result {
	value, base := ours.Quantile(0.5), baseline.Quantile(0.5)
	return Result{
		Name: name, Value: value, Unit: unit, Better: better, Baseline: base, Ratio: value / base,
		N: len(ours), P50: value, P99: ours.Quantile(0.99), Against: against,
	}
}

// Interleave runs each function n times, taking turns, so that a noisy machine is noisy to all of them. The first warm
// rounds are not counted.
func Interleave(warm, n int, funcs ...func() (time.Duration, error)) ([]Samples, error) {
	samples := make([]Samples, len(funcs))
	for round := range warm + n {
		for i, f := range funcs {
			d, err := f()
			if err != nil {
				return nil, fmt.Errorf("round %d: %w", round, err)
			}
			if round >= warm {
				samples[i].Milliseconds(d)
			}
		}
	}
	return samples, nil
}

// Write replaces path with the results, atomically.
func Write(path string, results []Result) error {
	data, err := json.MarshalIndent(results, "", "  ")
	if err != nil {
		return fmt.Errorf("encode results: %w", err)
	}
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, append(data, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}
