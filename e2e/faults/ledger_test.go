package faults

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// tally is what a range of seeds came to.
type tally struct {
	// commit is what the killed Slipway says that it was built from.
	commit      string
	first, last uint64
	began       time.Time
	by          map[target]int
	jobs        int
	bad         []string
}

func newTally(commit string, first, last uint64) *tally {
	return &tally{commit: commit, first: first, last: last, began: time.Now(), by: map[target]int{}}
}

func (d *tally) wave(by map[target]int, jobs int) {
	for k, n := range by {
		d.by[k] += n
	}
	d.jobs += jobs
}

func (d *tally) failed(seed uint64) { d.bad = append(d.bad, fmt.Sprint(seed)) }

func (d *tally) String() string {
	bad := "none"
	if len(d.bad) > 0 {
		bad = "seeds " + strings.Join(d.bad, " ")
	}
	total := d.by[agent] + d.by[containerd] + d.by[shim]
	return fmt.Sprintf("| %s | %d:%d | %d = %d agent, %d containerd, %d shim | %d | %s | %s |", d.commit, d.first, d.last, total, d.by[agent], d.by[containerd], d.by[shim],
		d.jobs, bad, time.Since(d.began).Round(time.Second))
}

// append writes a row of the ledger; no path is no ledger.
func (d *tally) append(path string) error {
	if path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0) // #nosec G304 -- named on the command line
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(f, d); err != nil {
		_ = f.Close()
		return err
	}
	return f.Close()
}

// parseSeeds reads "1:100", or "7" for one seed.
func parseSeeds(s string) (first, last uint64, err error) {
	a, b, ranged := strings.Cut(s, ":")
	if !ranged {
		b = a
	}
	if first, err = strconv.ParseUint(a, 10, 64); err == nil {
		last, err = strconv.ParseUint(b, 10, 64)
	}
	if err != nil || last < first {
		return 0, 0, fmt.Errorf("-seeds %q: want FIRST:LAST, e.g. 1:100", s)
	}
	return first, last, nil
}
