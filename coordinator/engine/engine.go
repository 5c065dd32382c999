package engine

import (
	"context"
	"crypto/sha256"
	"sync"
	"time"

	"google.golang.org/grpc/status"

	"github.com/slipway-ci/slipway/coordinator/commit"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// maxMailbox bounds the events that wait; past it callers are told to come back.
const maxMailbox = 20000

// mailboxFull is when to come back: a mailbox drains in much less.
const mailboxFull = time.Second

var _ Control = (*Engine)(nil)

// Engine implements Control for one term. All fields below the line belong to the engine's goroutine.
type Engine struct {
	c         Config
	commits   *commit.Committer
	mu        sync.Mutex
	mailbox   []func()
	wake      chan struct{}
	stopped   chan struct{}
	stopOnce  sync.Once
	stopTimer func() bool
	wg        sync.WaitGroup

	// keeper stores plans; nil if Config.Plans can't.
	keeper PlanKeeper

	// ---- the goroutine's own ----
	runs   map[string]*run
	agents map[string]*agent
	// fleet are the agents by id; nil when it must be made again.
	fleet    []*agent
	sessions map[string]*agent
	attempts map[string]*attemptRef
	// holds are the pods of failed jobs that agents hold, by attempt.
	holds map[string]*held
	// removed agents by id: their certificates are refused.
	removed map[string]*statev1.RemovedAgent
	// tail holds attempts of ended runs for a while: an agent may still deliver their last log bytes and fetch acknowledgements.
	tail     map[string]*attemptRef
	tailFIFO []string
	// groups are the concurrency groups that somebody holds or waits for, by key.
	groups map[string]*group
	// numbers is the last run number of each project.
	numbers map[string]uint64
	// submitting holds requests whose run is being created, with those who wait for it.
	submitting map[string][]func(string, uint64, error)
	// offers that are not sent yet, by attempt; never stored.
	offers map[string]offer
	// scheduleDue says that a look for placements is due, resting that it is put off for a moment.
	scheduleDue, resting bool
	// events were handled since the last look for placements.
	events int
	queue  queue
	// fresh are creations that wait for that look.
	fresh []*draft
}

// attemptRef finds an attempt and says who may speak for it.
type attemptRef struct {
	id, runID, jobID, agentID string
	project, source           string
	tokenHash                 [sha256.Size]byte
	// done: it ended in a result (not lost, not rejected).
	done bool
	// mayHold: its agent was asked to hold its pod if it fails.
	mayHold bool
	endedMS int64
}

// New returns an engine that has loaded the truth from the store. Start it, or Step it.
func New(ctx context.Context, c Config) (*Engine, error) {
	c.defaults()
	e := &Engine{c: c, wake: make(chan struct{}, 1), stopped: make(chan struct{}), runs: map[string]*run{}, agents: map[string]*agent{},
		sessions: map[string]*agent{}, attempts: map[string]*attemptRef{}, holds: map[string]*held{}, removed: map[string]*statev1.RemovedAgent{}, tail: map[string]*attemptRef{}, numbers: map[string]uint64{},
		submitting: map[string][]func(string, uint64, error){}, offers: map[string]offer{}, groups: map[string]*group{}}
	e.queue = newQueue(c)
	e.keeper, _ = c.Plans.(PlanKeeper)
	maxOps := 500
	if c.External {
		maxOps = 100
	}
	fence := c.Term.Fence()
	if c.Mutants.NoFence {
		fence = nil
	}
	e.commits = commit.New(commit.Config{Store: c.Store, Fence: fence, Clock: c.Clock, Log: c.Log, MaxOps: maxOps,
		OnBatch: c.Metrics.onBatch, OnFenced: e.stepDown})
	if err := e.load(ctx); err != nil {
		e.commits.Close()
		return nil, err
	}
	c.Metrics.term.Set(1)
	return e, nil
}

// Arm begins the ticks. For who drives Step by itself; Start does it.
func (e *Engine) Arm() { e.armTick() }

// Start runs the engine until Close or the end of its term.
func (e *Engine) Start() {
	e.Arm()
	e.wg.Go(func() {
		for {
			select {
			case <-e.stopped:
				return
			case <-e.c.Term.Done():
				e.stepDown()
				return
			case <-e.wake:
				for e.Step() {
				}
			}
		}
	})
}

// Done is closed when the engine has stopped and answers NOT_LEADER.
func (e *Engine) Done() <-chan struct{} { return e.stopped }

func (e *Engine) isDone() bool {
	select {
	case <-e.stopped:
		return true
	default:
		return false
	}
}

// Close stops the engine and waits. What is in memory is in the store, or was not promised to anybody.
func (e *Engine) Close() {
	e.stepDown()
	e.commits.Close()
	e.wg.Wait()
	e.c.Metrics.leave()
}

// stepDown makes every caller see NOT_LEADER. Safe from any goroutine.
func (e *Engine) stepDown() {
	e.stopOnce.Do(func() {
		close(e.stopped)
		e.mu.Lock()
		e.mailbox = nil
		stop := e.stopTimer
		e.mu.Unlock()
		if stop != nil {
			stop()
		}
	})
}

// maxEvents are handled at the most before a look for placements that is due.
const maxEvents = 256

// Step handles one event, and when none is left, or many were handled since, looks for placements; false if there was nothing to do. Only for the
// engine's goroutine, or a simulation in its place.
func (e *Engine) Step() bool {
	look := e.scheduleDue && !e.resting
	e.mu.Lock()
	var next func()
	if len(e.mailbox) == 0 {
		// A plan costs nobody anything now, and whoever submits waits for it.
		look = look || len(e.fresh) > 0
	} else if !look || e.events < maxEvents {
		next, e.mailbox[0] = e.mailbox[0], nil
		e.mailbox = e.mailbox[1:]
	}
	e.c.Metrics.waiting.Set(float64(len(e.mailbox)))
	e.mu.Unlock()
	if e.isDone() {
		return false
	}
	if !e.c.Term.Valid() {
		// Memory can't be trusted any more, not even to answer a question.
		e.c.Log.Warn("the term's trust window has passed; stepping down")
		e.stepDown()
		return false
	}
	switch {
	case next != nil:
		e.events++
		next()
	case look:
		e.place()
	default:
		return false
	}
	return true
}

// post queues an event from any goroutine; false if the engine has stopped.
func (e *Engine) post(f func()) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.isDone() {
		return false
	}
	e.mailbox = append(e.mailbox, f)
	select {
	case e.wake <- struct{}{}:
	default:
	}
	return true
}

// ask posts an event of a caller and waits for its reply.
func (e *Engine) ask(ctx context.Context, f func(reply func(error))) error {
	e.mu.Lock()
	full := len(e.mailbox) >= maxMailbox
	e.mu.Unlock()
	if full {
		return rpcerr.BusyFor(mailboxFull, "the coordinator has more work than it can take; try again in %v", mailboxFull)
	}
	answer := make(chan error, 1)
	reply := func(err error) {
		select {
		case answer <- err:
		default:
		}
	}
	if !e.post(func() { f(reply) }) {
		return errNotLeader()
	}
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	case <-e.stopped:
		// The answer may have been given just before.
		select {
		case err := <-answer:
			return err
		default:
			return errNotLeader()
		}
	}
}

func errNotLeader() error {
	return rpcerr.New(rpcerr.NotLeader, "this coordinator does not lead now; ask again")
}

func (e *Engine) nowMS() int64 { return e.c.Clock.Now().UnixMilli() }
