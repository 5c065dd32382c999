// Package commit is the only writer of run state.
//
// Transitions are proposed one by one and written in groups: at once when nothing is in flight, otherwise together with whatever gathers
// until a transaction returns. There is no timer. A group is one fenced transaction; each transition is a nested one with its own compares, so
// a stale transition fails alone.
//
// An unknown outcome (a time-out, a broken connection) is never guessed at. The same compares are proposed again until the answer is
// definite; a compare that then fails is a success only if the key holds exactly what the transition wrote, which includes its id.
package commit

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/slipway-ci/slipway/coordinator/store"
	"github.com/slipway-ci/slipway/internal/clock"
	"github.com/slipway-ci/slipway/internal/rpcerr"
)

// ErrConflict: a compare of the transition failed: the key is not what the proposer thought. Nothing was written.
var ErrConflict = errors.New("commit: the record has changed meanwhile")

// ErrStopped: this coordinator no longer leads, or stops. What the transition did, if anything, is for the next leader to read.
var ErrStopped = errors.New("commit: no longer the leader")

// Transition is a set of writes that happen together or not at all.
type Transition struct {
	Compares []store.Compare
	// Ops, at least one. The first write must have a value that no other transition writes (it holds the transition's id).
	Ops []store.Op
	// Refusable transitions are refused when the queue is full; others are always taken (their number is bounded by the live runs).
	Refusable bool
	// Done is called once, after the outcome is definite, from a goroutine of the Committer; it must not block.
	Done func(Outcome)
}

// Outcome of a transition. Err is nil, or wraps ErrConflict, ErrStopped or store.ErrInvalid.
type Outcome struct {
	// Revision is the ModRevision of every key that the transition wrote; of one that only deletes it may be 0.
	Revision int64
	Err      error
}

// Config configures a Committer.
type Config struct {
	Store store.Store
	// Fence of the leader's term, in every transaction.
	Fence []store.Compare
	// InFlight transactions at once; 0 is 2.
	InFlight int
	// MaxBatch transitions a transaction; 0 is 64. MaxOps writes a transaction; 0 is 100 (external etcd: at most 128 in all levels of nesting).
	// MaxBytes of values a transaction; 0 is 512 KiB. One transition alone may exceed MaxOps and MaxBytes.
	MaxBatch, MaxOps, MaxBytes int
	// MaxQueue refusable transitions that wait; 0 is 2000.
	MaxQueue int
	// Timeout of one proposal; 0 is 5 s.
	Timeout time.Duration
	Clock   clock.Clock
	Log     *slog.Logger
	// OnBatch, if set, is told of every finished transaction: transitions and time from proposal to definite outcome.
	OnBatch func(size int, d time.Duration)
	// Failpoint, if set, is asked at every Point, for tests. An error in front of a call is the store's refusal: nothing was done. One behind it is
	// an unknown outcome: the call was made. It may block until ctx ends, which is a crash at that point.
	Failpoint func(ctx context.Context, p Point) error
	// OnFenced, if set, is called once when the fence fails, before the outcomes of that transaction.
	OnFenced func()
}

// Point is a place where a test can fail a Committer.
type Point string

// The points: in front of and behind every call of the store.
const (
	BeforeCommit Point = "before-commit"
	AfterCommit  Point = "after-commit"
	BeforeRead   Point = "before-read"
	AfterRead    Point = "after-read"
)

// Committer writes transitions. Safe for concurrent use.
type Committer struct {
	c      Config
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex
	queue    []*Transition
	busy     map[string]bool
	inFlight int
	stopped  bool
	// took is how long the last transaction was on its way.
	took   time.Duration
	fenced sync.Once
}

// New returns a running Committer; Close it.
func New(c Config) *Committer {
	c.InFlight = orDefault(c.InFlight, 2)
	c.MaxBatch = orDefault(c.MaxBatch, 64)
	c.MaxOps = orDefault(c.MaxOps, 100)
	c.MaxBytes = orDefault(c.MaxBytes, 512<<10)
	c.MaxQueue = orDefault(c.MaxQueue, 2000)
	if c.Timeout <= 0 {
		c.Timeout = 5 * time.Second
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &Committer{c: c, ctx: ctx, cancel: cancel, busy: map[string]bool{}}
}

func orDefault(v, d int) int {
	if v <= 0 {
		return d
	}
	return v
}

// Propose takes a transition; its Done tells the outcome. It does not block. Errors: rpcerr BUSY (the queue is full; Refusable only),
// rpcerr NOT_LEADER (stopped); then Done is not called.
func (c *Committer) Propose(t *Transition) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return rpcerr.New(rpcerr.NotLeader, "this coordinator no longer leads; ask again")
	}
	if t.Refusable && len(c.queue) >= c.c.MaxQueue {
		wait := c.drainTime()
		return rpcerr.BusyFor(wait, "%d changes wait to be stored; try again in %v", len(c.queue), wait)
	}
	c.queue = append(c.queue, t)
	c.kick()
	return nil
}

// drainTime is about how long the queue takes to be stored, 100 ms to 10 s. The caller holds mu.
func (c *Committer) drainTime() time.Duration {
	batches := len(c.queue)/(c.c.MaxBatch*c.c.InFlight) + 1
	return min(max(100*time.Millisecond, time.Duration(batches)*c.took), 10*time.Second).Round(time.Millisecond)
}

// Close stops and waits. Transitions without a definite outcome end in ErrStopped.
func (c *Committer) Close() {
	c.stop()
	c.wg.Wait()
}

func (c *Committer) stop() {
	c.mu.Lock()
	left := c.queue
	c.queue, c.stopped = nil, true
	c.mu.Unlock()
	c.cancel()
	for _, t := range left {
		t.Done(Outcome{Err: ErrStopped})
	}
}

// kick starts transactions while some may start. The caller holds mu.
func (c *Committer) kick() {
	for c.inFlight < c.c.InFlight && !c.stopped {
		batch := c.gather()
		if len(batch) == 0 {
			return
		}
		c.inFlight++
		c.wg.Add(1)
		go c.perform(batch)
	}
}

// gather takes from the queue, in order, what may go together: a key is written by one transition at a time, and transitions of one
// key keep their order. The caller holds mu.
func (c *Committer) gather() []*Transition {
	var batch, rest []*Transition
	held := map[string]bool{}
	ops, bytes := 0, 0
	for i, t := range c.queue {
		n, size := len(t.Ops), sizeOf(t)
		full := len(batch) > 0 && (len(batch) >= c.c.MaxBatch || ops+n > c.c.MaxOps || bytes+size > c.c.MaxBytes)
		if full {
			rest = append(rest, c.queue[i:]...)
			break
		}
		if c.blocked(t, held) {
			rest = append(rest, t)
		} else {
			batch = append(batch, t)
			ops, bytes = ops+n, bytes+size
		}
		for _, op := range t.Ops {
			held[op.Key] = true
		}
	}
	c.queue = rest
	for _, t := range batch {
		for _, op := range t.Ops {
			c.busy[op.Key] = true
		}
	}
	return batch
}

func (c *Committer) blocked(t *Transition, held map[string]bool) bool {
	for _, op := range t.Ops {
		if held[op.Key] || c.busy[op.Key] {
			return true
		}
	}
	return false
}

func sizeOf(t *Transition) int {
	n := 0
	for _, op := range t.Ops {
		n += len(op.Key) + len(op.Value)
	}
	return n
}

func (c *Committer) perform(batch []*Transition) {
	defer c.wg.Done()
	begin := c.c.Clock.Now()
	outcomes := c.write(batch)
	took := c.c.Clock.Now().Sub(begin)
	if c.c.OnBatch != nil {
		c.c.OnBatch(len(batch), took)
	}
	c.mu.Lock()
	c.took = took
	for _, t := range batch {
		for _, op := range t.Ops {
			delete(c.busy, op.Key)
		}
	}
	c.inFlight--
	c.kick()
	c.mu.Unlock()
	for i, t := range batch {
		t.Done(outcomes[i])
	}
}
