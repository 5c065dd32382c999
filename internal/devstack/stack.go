package devstack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// ErrRunning: another supervisor has the stack.
var ErrRunning = errors.New("devstack: already supervised")

// Backoff of restarts: doubled from first to last; a process that lived for steady is given a fresh start.
const (
	firstBackoff = 200 * time.Millisecond
	lastBackoff  = 10 * time.Second
	steady       = 5 * time.Second
	readyPause   = 20 * time.Millisecond
	// giveUp is how often a process may end before it was ready for the first time.
	giveUp = 4
)

// Stack is a set of processes that belong together.
type Stack struct {
	// Dir holds pid files and the lock; absolute, private to the user. Two stacks in different directories do not know
	// each other.
	Dir string
	// Processes in the order of starting; stopping goes backwards.
	Processes []Process
	// ReadyIn is how long a process may take to be ready at its first start; 0 is 60 s.
	ReadyIn time.Duration
	Log     *slog.Logger
	// OnReady is called once all processes are ready; may be nil.
	OnReady func()
}

// Run starts or adopts every process and keeps it running until ctx ends. What happens then is for leave to say: true
// leaves them running for the next supervisor, false stops them in reverse order. ErrRunning if somebody else supervises.
func (s *Stack) Run(ctx context.Context, leave func() bool) error {
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return fmt.Errorf("devstack: %w", err)
	}
	unlock, err := s.lock()
	if err != nil {
		return err
	}
	defer unlock()
	me, err := identify(os.Getpid())
	if err != nil {
		return fmt.Errorf("devstack: %w", err)
	}
	if err := writeRecord(s.pidFile(supervisor), record{me, os.Args, ""}); err != nil {
		return fmt.Errorf("devstack: %w", err)
	}
	defer os.Remove(s.pidFile(supervisor))

	keepers := make([]*keeper, len(s.Processes))
	for i, p := range s.Processes {
		keepers[i] = &keeper{stack: s, p: p, log: s.Log.With("process", p.Name)}
	}
	err = s.supervise(ctx, keepers)
	if leave() {
		return nil
	}
	for i := len(keepers) - 1; i >= 0; i-- {
		err = errors.Join(err, keepers[i].end())
	}
	return err
}

// supervise brings the processes up one after the other and waits for ctx. An error means that one did not come up.
func (s *Stack) supervise(ctx context.Context, keepers []*keeper) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	for _, k := range keepers {
		if err := k.begin(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		group.Go(func() { k.keep(ctx) })
		if err := k.ready(ctx, s.readyIn()); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
	}
	if s.OnReady != nil {
		s.OnReady()
	}
	<-ctx.Done()
	return nil
}

func (s *Stack) readyIn() time.Duration {
	if s.ReadyIn == 0 {
		return time.Minute
	}
	return s.ReadyIn
}

// supervisor is the name of the pid file of who runs the stack.
const supervisor = "supervisor"

// lock keeps other supervisors out for as long as this process lives.
func (s *Stack) lock() (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(s.Dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("devstack: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, ErrRunning
		}
		return nil, fmt.Errorf("devstack: locking %s: %w", s.Dir, err)
	}
	return func() { f.Close() }, nil
}

// keeper keeps one process running. keep is the only one that changes current while it runs.
type keeper struct {
	stack   *Stack
	p       Process
	log     *slog.Logger
	current *running
	since   time.Time
	deaths  atomic.Int32
}

// begin adopts the process, or replaces one that is outdated, or starts it.
func (k *keeper) begin(ctx context.Context) error {
	r, same, err := k.stack.find(k.p)
	if err != nil {
		return err
	}
	if same {
		k.log.Info("adopted", "pid", r.PID)
		k.current, k.since = r, time.Now()
		// The pid file may be what was missing.
		return writeRecord(k.stack.pidFile(k.p.Name), record{r.identity, k.p.Argv, k.p.Fingerprint})
	}
	if r != nil {
		k.log.Info("replacing one that is outdated", "pid", r.PID)
		if err := r.stop(k.p.Grace, k.p.Stop); err != nil {
			return fmt.Errorf("%s: stopping the outdated one: %w", k.p.Name, err)
		}
	}
	return k.start(ctx)
}

func (k *keeper) start(ctx context.Context) error {
	if k.p.Prepare != nil {
		if err := k.p.Prepare(ctx); err != nil {
			return fmt.Errorf("%s: preparing: %w", k.p.Name, err)
		}
	}
	r, err := k.stack.start(ctx, k.p)
	if err != nil {
		return err
	}
	k.log.Info("started", "pid", r.PID, "log", k.p.Log)
	k.current, k.since = r, time.Now()
	return nil
}

// ready waits until the process says so.
func (k *keeper) ready(ctx context.Context, limit time.Duration) error {
	if k.p.Ready == nil {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not ready after %s", limit))
	defer cancel()
	var last error
	for {
		if last = k.p.Ready(ctx); last == nil {
			return nil
		}
		if n := k.deaths.Load(); n >= giveUp {
			return fmt.Errorf("%s ended %d times while starting; its log is %s", k.p.Name, n, k.p.Log)
		}
		if sleep(ctx, readyPause) != nil {
			return fmt.Errorf("%s: %w: %w; its log is %s", k.p.Name, context.Cause(ctx), last, k.p.Log)
		}
	}
}

// keep restarts the process whenever it ends, until ctx does.
func (k *keeper) keep(ctx context.Context) {
	pause := firstBackoff
	for {
		if k.current != nil {
			if err := k.current.wait(ctx); err != nil {
				return
			}
			k.log.Warn("ended", "pid", k.current.PID, "how", k.current.release(), "after", time.Since(k.since).Round(time.Millisecond))
			k.deaths.Add(1)
			if k.current = nil; time.Since(k.since) > steady {
				pause = firstBackoff
			}
		}
		if sleep(ctx, pause) != nil {
			return
		}
		pause = min(pause*2, lastBackoff)
		if err := k.start(ctx); err != nil {
			k.log.Error("starting failed", "err", err)
		}
	}
}

// end stops what runs.
func (k *keeper) end() error {
	if k.current == nil {
		return nil
	}
	pid := k.current.PID
	if err := k.current.stop(k.p.Grace, k.p.Stop); err != nil {
		return fmt.Errorf("%s: stopping: %w", k.p.Name, err)
	}
	k.log.Info("stopped", "pid", pid)
	return removed(os.Remove(k.stack.pidFile(k.p.Name)))
}

func removed(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
