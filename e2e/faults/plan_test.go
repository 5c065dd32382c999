package faults

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// target is a kind of process that is killed.
type target string

const (
	agent      target = "agent"
	containerd target = "containerd"
	shim       target = "shim"
)

// kill is one kill -9.
type kill struct {
	target target
	// after the wave's jobs were submitted.
	after time.Duration
	// pick chooses among several processes.
	pick uint32
}

// wave is what a seed decides.
type wave struct {
	seed  uint64
	jobs  []shape
	kills []kill
}

const (
	killsPerWave = 3
	jobsPerWave  = 5
	// killWithin is about as long as a wave's jobs take on a calm machine, so that kills meet them in every phase.
	killWithin = 5 * time.Second
)

func newWave(seed uint64) wave {
	r := rand.New(rand.NewPCG(seed, 0x51bb)) //nolint:gosec // a replayable choice, no secret
	w := wave{seed: seed}
	for range jobsPerWave {
		w.jobs = append(w.jobs, shapes[r.IntN(len(shapes))])
	}
	for range killsPerWave {
		k := kill{target: []target{agent, containerd, shim}[r.IntN(3)], after: time.Duration(r.Int64N(int64(killWithin))), pick: r.Uint32()}
		w.kills = append(w.kills, k)
	}
	slices.SortFunc(w.kills, func(a, b kill) int { return int(a.after - b.after) })
	return w
}

func (w wave) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d:", w.seed)
	for _, j := range w.jobs {
		b.WriteString(" " + j.name)
	}
	for _, k := range w.kills {
		fmt.Fprintf(&b, "; kill %s after %s", k.target, k.after.Round(time.Millisecond))
	}
	return b.String()
}
