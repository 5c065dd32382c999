package simulation

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/slipway-ci/slipway/coordinator/engine"
)

// Options say what is simulated.
type Options struct {
	Seed uint64
	// Runs that clients submit.
	Runs int
	// Mutants are bugs planted on purpose.
	Mutants engine.Mutants
	// Calm: no faults at all.
	Calm bool

	// Drawn from the seed.
	projects int
	failing  float64
	cancels  float64
	faults   float64
	flood    bool
	// external: transactions are as small as an etcd of others wants them.
	external bool
}

// Result is what came of it.
type Result struct {
	Seed      uint64
	Violation *Violation
	// Err is a failure of the simulator itself.
	Err error
	// Runs and Jobs that ended, Events that happened, Virtual time that passed.
	Runs, Jobs, Events int
	Virtual            time.Duration
	// Kinds counts the faults that happened, by kind.
	Kinds   map[string]int
	history *history
}

// Digest is a hash over the whole history.
func (r *Result) Digest() string { return r.history.Digest() }

// History returns the lines that matter for the violation, or all if there is none; at most the last most lines.
func (r *Result) History(most int) string {
	if r.Violation == nil {
		return r.history.trim(nil, most)
	}
	return r.history.trim(r.Violation.About, most)
}

// world is everything of one simulation.
type world struct {
	o     Options
	l     *loop
	log   *slog.Logger
	hist  *history
	check *checker
	store *simStore
	net   *network
	plans planStore
	wg    sync.WaitGroup

	coordinators []*coordinator
	agents       []*agentProc
	hosts        []*host

	requests, calls int
	unanswered      map[string]bool
	kinds           map[string]int
	// healed is when the faults stopped.
	healed   time.Duration
	isHealed bool
}

var compiled = sync.OnceValues(compileShapes)

// Run simulates one seed. It uses t only for the bubble of testing/synctest.
func Run(t *testing.T, o Options) *Result {
	t.Helper()
	plans, err := compiled()
	if err != nil {
		return &Result{Seed: o.Seed, Err: err, history: &history{}}
	}
	dir, remove, err := tempDir()
	if err != nil {
		return &Result{Seed: o.Seed, Err: err, history: &history{}}
	}
	defer remove()
	var r *Result
	synctest.Test(t, func(*testing.T) {
		w := newWorld(o, plans, dir)
		err := w.run()
		r = &Result{Seed: o.Seed, Violation: w.check.found, Err: err, Jobs: w.check.jobsEnded, Runs: len(w.check.runs), Events: w.l.events, Virtual: w.l.now,
			Kinds: w.kinds, history: w.hist}
	})
	return r
}

func newWorld(o Options, plans planStore, dir string) *world {
	l := newLoop(o.Seed)
	w := &world{o: o, l: l, log: slog.New(slog.DiscardHandler), plans: plans, unanswered: map[string]bool{}, kinds: map[string]int{}}
	w.hist = &history{l: l, kin: map[string]string{}}
	w.check = newChecker(l, w.hist)
	w.store = newStore(w)
	w.net = &network{cut: map[string]bool{}}
	w.o.projects = 1 + l.rng.IntN(3)
	w.o.failing = []float64{0, 0.1, 0.3}[l.rng.IntN(3)]
	w.o.cancels = []float64{0, 0.1, 0.4}[l.rng.IntN(3)]
	w.o.faults = []float64{0.3, 1, 1, 3}[l.rng.IntN(4)]
	w.o.external = l.chance(0.3)
	// One seed in eight is a flood: one project has nearly all the runs, at once, and nothing fails.
	w.o.flood = o.Calm || l.rng.IntN(8) == 0
	if w.o.flood {
		w.o.faults, w.o.projects, w.check.waits.calm = 0, 3, true
	}
	for i := range 1 + l.rng.IntN(2) {
		name := fmt.Sprintf("c%d", i+1)
		w.coordinators = append(w.coordinators, &coordinator{node: newNode(l, name, o.Seed), w: w, dir: filepath.Join(dir, name)})
	}
	for i := range 1 + l.rng.IntN(4) {
		name := fmt.Sprintf("a%d", i+1)
		h := &host{w: w, name: name, pods: map[string]*simPod{}}
		w.hosts = append(w.hosts, h)
		a := &agentProc{node: newNode(l, name, o.Seed), w: w, host: h, dir: filepath.Join(dir, name), slots: 1 + l.rng.IntN(3)}
		w.agents = append(w.agents, a)
		w.check.slots[name] = a.slots
	}
	return w
}

// limits of a simulation.
const (
	// submitFor is how long clients submit, faultFor how long faults happen, settleFor how long everything may take to end after that.
	submitFor = 40 * time.Second
	faultFor  = 75 * time.Second
	settleFor = 60 * time.Minute
	// cleanFor is how long a host may take to be clean once all runs have ended and its agent is back.
	cleanFor  = 2 * time.Minute
	maxEvents = 3_000_000
)

// run simulates to the end.
func (w *world) run() error {
	for _, c := range w.coordinators {
		if err := c.boot(); err != nil {
			return err
		}
	}
	for _, a := range w.agents {
		if err := a.boot(); err != nil {
			return err
		}
	}
	for i := range w.o.Runs {
		if w.o.flood && i%10 != 0 {
			w.l.after(w.l.between(0, 2*time.Second), func() { w.submit(0) })
		} else {
			w.l.after(w.l.between(0, submitFor), func() { w.submit(w.l.rng.IntN(w.o.projects)) })
		}
	}
	w.planFaults()
	w.l.after(time.Second, w.lookAgain)
	for {
		// Nothing is asked while goroutines run: what they are about to do would decide the answer.
		w.l.settle(w.move)
		if w.check.found != nil || w.l.failed != nil || w.over() || !w.l.step() {
			break
		}
	}
	if w.check.found == nil && w.l.failed == nil {
		w.judgeEnd()
	}
	w.shutDown()
	return w.l.failed
}

// move lets the engines work, one event at a time, and takes what was sent; false if nothing is left to do now.
func (w *world) move() bool {
	for _, c := range w.coordinators {
		if e := c.engine.Load(); e != nil && c.up && !c.paused && e.Step() {
			return true
		}
	}
	w.net.collect()
	return false
}

func (w *world) lookAgain() {
	w.look()
	if w.isHealed {
		for _, h := range w.hosts {
			w.check.waits.left(h, w.healed)
		}
	}
	w.l.after(w.l.between(2*time.Second, 6*time.Second), w.lookAgain)
}

// pick is the coordinator that a load balancer would choose: mostly the leader, sometimes any.
func (w *world) pick() *coordinator {
	if w.store.lease != nil && w.l.chance(0.8) {
		for _, c := range w.coordinators {
			if c.name == w.store.lease.term.h.n.name && c.up {
				return c
			}
		}
	}
	c := w.coordinators[w.l.rng.IntN(len(w.coordinators))]
	if !c.up {
		return nil
	}
	return c
}

// over says whether everything has ended, or too much time has passed.
func (w *world) over() bool {
	if w.l.events > maxEvents {
		w.l.fail("more than %d events", maxEvents)
		return true
	}
	if !w.isHealed {
		return false
	}
	return w.done() && w.clean() || w.l.now-w.healed > settleFor || w.done() && w.doneFor() > cleanFor
}

// doneFor is how long all runs have ended.
func (w *world) doneFor() time.Duration {
	if w.check.doneAt == 0 {
		w.check.doneAt = w.l.now
	}
	return w.l.now - w.check.doneAt
}

// done: every request was answered, every run has ended.
func (w *world) done() bool {
	return w.requests == w.o.Runs && len(w.unanswered) == 0 && len(w.check.live) == 0
}

// clean: nothing of any job is left on any host.
func (w *world) clean() bool {
	for _, h := range w.hosts {
		if len(h.pods) > 0 {
			return false
		}
	}
	for _, a := range w.agents {
		if len(a.holder.Held()) > 0 {
			return false
		}
	}
	return true
}

// shutDown ends all processes, so that the bubble can end.
func (w *world) shutDown() {
	for _, a := range w.agents {
		if a.up {
			a.crash()
		}
	}
	for _, c := range w.coordinators {
		if c.up {
			c.crash()
		}
	}
	for {
		synctest.Wait()
		p := w.l.next()
		if p == nil {
			break
		}
		p.take()
	}
	w.wg.Wait()
}
