package archive

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/slipway-ci/slipway/coordinator/blob"
	"github.com/slipway-ci/slipway/coordinator/engine"
	"github.com/slipway-ci/slipway/coordinator/history"
	"github.com/slipway-ci/slipway/coordinator/logs"
	"github.com/slipway-ci/slipway/coordinator/store"
	"github.com/slipway-ci/slipway/internal/clock"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// ErrFenced: another coordinator leads.
var ErrFenced = errors.New("archive: no longer the leader")

// Logs is where the logs of runs are. Implemented by logs.Store.
type Logs interface {
	List(run string) ([]logs.Info, error)
	ReadAt(attempt string, step uint32, p []byte, offset int64) (int, error)
	Finished(attempt string) bool
}

// Index is what is told of every bundle. Implemented by history.History.
type Index interface {
	Add(ctx context.Context, entries []history.Entry) error
	Advance(ctx context.Context, moves ...history.Move) error
	Follow(ctx context.Context, heads map[string]*statev1.ChainHead) (added int, err error)
}

// Config configures an Archiver.
type Config struct {
	Store store.Store
	// Fence of the leader's term, in every transaction.
	Fence []store.Compare
	Blobs blob.Store
	Logs  Logs
	Index Index
	Clock clock.Clock
	NewID func() string
	Log   *slog.Logger
	// Delay after a run's end; 0 is a minute.
	Delay time.Duration
	// LogPatience is how long after its end a run waits for logs that are on their way, before it is sealed with a gap; 0 is a day.
	LogPatience time.Duration
	// Batch is how many runs are sealed in one transaction; 0 is 64. External, with 5 writes each, allows 20.
	Batch int
	// Parallel blobs are written at once; 0 is 4. 1 makes no goroutine.
	Parallel int
	// Metrics may be nil.
	Metrics *Metrics
	// Failpoint, if set, is asked at every Point, for tests. An error ends the step there, as a crash would.
	Failpoint func(Point) error
}

// Point is a place where a test can fail an Archiver.
type Point string

// The points, in order.
const (
	BeforeLogs   Point = "before-logs"
	AfterLogs    Point = "after-logs"
	BeforeBundle Point = "before-bundle"
	AfterBundle  Point = "after-bundle"
	BeforeIndex  Point = "before-index"
	AfterIndex   Point = "after-index"
	BeforeCommit Point = "before-commit"
	AfterCommit  Point = "after-commit"
)

// Points are all of them.
var Points = []Point{BeforeLogs, AfterLogs, BeforeBundle, AfterBundle, BeforeIndex, AfterIndex, BeforeCommit, AfterCommit}

// Archiver seals the runs that it is told of. Ended is safe for concurrent use; the rest is for one goroutine.
type Archiver struct {
	c    Config
	wake chan struct{}

	mu      sync.Mutex
	pending queue
	known   map[string]bool

	// chains as this leader, the only writer, knows them; nil when they must be read again.
	chains map[string]engine.Chain
	// look is when the index is next brought to where the chains are, which failed lookFailures times in a row.
	look         time.Time
	lookFailures int
}

// New returns an archiver that knows of no run (see Load), and takes the index to be where the chains are.
func New(c Config) *Archiver {
	orDefault(&c.Delay, time.Minute)
	orDefault(&c.LogPatience, 24*time.Hour)
	orDefault(&c.Batch, 64)
	orDefault(&c.Parallel, 4)
	if c.Metrics == nil {
		c.Metrics = NewMetrics(nil)
	}
	return &Archiver{c: c, wake: make(chan struct{}, 1), known: map[string]bool{}, look: c.Clock.Now().Add(lookEvery)}
}

func orDefault[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// item is a run that waits to be sealed.
type item struct {
	run     string
	endedMS int64
	due     time.Time
	// failures in a row that were this run's own.
	failures int
}

// queue is a heap by due time, then id, so that a simulation replays.
type queue []item

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return q[i].due.Before(q[j].due) || q[i].due.Equal(q[j].due) && q[i].run < q[j].run
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(item)) } //nolint:forcetypeassert // by heap alone
func (q *queue) Pop() any {
	old := *q
	last := old[len(old)-1]
	*q = old[:len(old)-1]
	return last
}

// Ended tells of a run that ended, once it is in the store so. It does not block: for engine.Config.Sealer.
func (a *Archiver) Ended(runID string, endedMS int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.known[runID] {
		return
	}
	a.known[runID] = true
	a.push(item{run: runID, endedMS: endedMS, due: time.UnixMilli(endedMS).Add(a.c.Delay)})
}

// push is called with mu held.
func (a *Archiver) push(i item) {
	heap.Push(&a.pending, i)
	a.c.Metrics.pending.Set(float64(len(a.pending)))
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// Load finds the ended runs that a leader before this one left.
func (a *Archiver) Load(ctx context.Context) error {
	err := engine.EachRun(ctx, a.c.Store, func(h *statev1.RunHeader) error {
		if engine.Ended(h) {
			a.Ended(h.GetId(), h.GetEndedMs())
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("looking for finished runs: %w", err)
	}
	return nil
}

// pause is how long it waits when the store, the disk or the index fails.
const pause = 5 * time.Second

// Sealing takes one part of share of the time at the most, so that runs that live do not wait for it, unless there is a backlog: that would fill
// the store.
const (
	share   = 2
	backlog = 2000
)

func (a *Archiver) waiting() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.pending)
}

// Run seals what is due until ctx ends; ErrFenced if another coordinator leads.
func (a *Archiver) Run(ctx context.Context) error {
	for {
		began := a.c.Clock.Now()
		n, next, err := a.Step(ctx)
		wait := next
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // it was told to end, whatever that broke off
		case errors.Is(err, ErrFenced):
			return err
		case err != nil:
			a.c.Log.Error("finished runs can't be sealed; trying again", "error", err, "in", pause)
			wait = pause
		case n > 0 && a.waiting() > backlog:
			wait = 0
		case n > 0:
			wait = min(time.Second, (share-1)*a.c.Clock.Now().Sub(began))
		}
		if !a.sleep(ctx, wait, n == 0 && err == nil) {
			return nil
		}
	}
}

// sleep waits. wakes: what comes ends it.
func (a *Archiver) sleep(ctx context.Context, d time.Duration, wakes bool) bool {
	timer := make(chan struct{})
	defer a.c.Clock.AfterFunc(d, func() { close(timer) })()
	var wake chan struct{}
	if wakes {
		wake = a.wake
	}
	select {
	case <-ctx.Done():
		return false
	case <-timer:
	case <-wake:
	}
	return true
}

// Step seals one batch of what is due, and says how many runs that were. With none, next is when to look again.
func (a *Archiver) Step(ctx context.Context) (n int, next time.Duration, err error) {
	if err := a.catchUp(ctx); err != nil {
		return 0, 0, err
	}
	batch, next := a.take()
	if len(batch) == 0 {
		return 0, next, nil
	}
	defer func() {
		if err != nil {
			a.behind()
			a.putBack(batch, a.c.Clock.Now().Add(pause))
		}
	}()
	sealed, later, err := a.sealAll(ctx, batch)
	if err != nil {
		return 0, 0, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, i := range batch {
		delete(a.known, i.run)
	}
	for _, i := range later {
		a.known[i.run] = true
		a.push(i)
	}
	a.c.Metrics.sealed.Add(float64(sealed))
	a.c.Metrics.pending.Set(float64(len(a.pending)))
	return len(batch), 0, nil
}

// sealAll seals those of a batch that can be, and says how many those were and which are to be tried later.
func (a *Archiver) sealAll(ctx context.Context, batch []item) (sealed int, later []item, err error) {
	for again := true; ; again = false {
		runs, later, err := a.prepareAll(ctx, batch)
		if err != nil {
			return 0, nil, err
		}
		bad, err := a.seal(ctx, runs)
		if err == nil {
			return len(runs) - len(bad), append(later, bad...), nil
		}
		if !again || !errors.Is(err, errBehind) {
			return 0, nil, err
		}
		// What has expired moves the heads, and so does a transaction without an answer that comes through late: then runs of this batch are in
		// the chain, and must get no second place. Each is read again, and the entries that they were given are put right before.
		a.behind()
		if err := a.catchUp(ctx); err != nil {
			return 0, nil, err
		}
	}
}

// postpone says when a run is tried again whose own error it was: what is wrong with one must not keep the others in the store.
func (a *Archiver) postpone(i item, err error) item {
	wait := growing(i.failures)
	i.failures++
	i.due = a.c.Clock.Now().Add(wait)
	a.c.Log.Error("a finished run can't be sealed, others are; trying again", "run", i.run, "error", err, "in", wait)
	return i
}

func (a *Archiver) take() (batch []item, next time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.c.Clock.Now()
	for len(a.pending) > 0 && len(batch) < a.c.Batch && !a.pending[0].due.After(now) {
		batch = append(batch, heap.Pop(&a.pending).(item)) //nolint:forcetypeassert // nothing else is in it
	}
	next = a.look.Sub(now)
	if len(batch) == 0 && len(a.pending) > 0 {
		next = min(next, a.pending[0].due.Sub(now))
	}
	return batch, next
}

func (a *Archiver) putBack(batch []item, due time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, i := range batch {
		i.due = due
		a.push(i)
	}
}

func (a *Archiver) point(p Point) error {
	if a.c.Failpoint == nil {
		return nil
	}
	return a.c.Failpoint(p)
}
