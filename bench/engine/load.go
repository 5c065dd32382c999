package engine

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/slipway-ci/slipway/bench/fleet"
	"github.com/slipway-ci/slipway/internal/rpcerr"
)

// submitters call at once; each of them waits for its answer.
const submitters = 256

// load submits runs in the background until it is stopped.
type load struct {
	c       *coordinator
	project string
	may     chan struct{}
	wg      sync.WaitGroup
	stop    context.CancelFunc

	submitted atomic.Int64
	refused   atomic.Int64
	stopped   atomic.Bool
	mu        sync.Mutex
	err       error
}

func newLoad(ctx context.Context, c *coordinator, project string) *load {
	ctx, stop := context.WithCancel(ctx)
	l := &load{c: c, project: project, may: make(chan struct{}, submitters), stop: stop}
	for range submitters {
		l.wg.Go(func() { l.submit(ctx) })
	}
	return l
}

// closed keeps so many runs unfinished.
func (l *load) closed(p *fleet.Process, window int64) *load {
	begun := p.Finished()
	l.wg.Go(func() {
		defer close(l.may)
		for given := int64(0); ; {
			for given-(p.Finished()-begun) < window && !l.over() {
				l.may <- struct{}{}
				given++
			}
			if _, more := <-p.Moved(); !more || l.over() {
				return
			}
		}
	})
	return l
}

// open submits so many runs a second, whatever becomes of them.
func (l *load) open(ctx context.Context, perSecond float64) *load {
	l.wg.Go(func() {
		defer close(l.may)
		begun := time.Now()
		tick := time.NewTicker(time.Millisecond)
		defer tick.Stop()
		for given := 0; ; {
			for due := int(time.Since(begun).Seconds() * perSecond); given < due; given++ {
				l.may <- struct{}{}
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if l.over() {
				return
			}
		}
	})
	return l
}

// some submits n runs and waits for the answers.
func (l *load) some(n int) error {
	for range n {
		l.may <- struct{}{}
	}
	close(l.may)
	l.wg.Wait()
	l.stop()
	return l.failure()
}

func (l *load) over() bool { return l.failure() != nil || l.stopped.Load() }

func (l *load) submit(ctx context.Context) {
	for range l.may {
		err := l.c.submit(ctx, l.project)
		for rpcerr.ReasonOf(err) == rpcerr.Busy && ctx.Err() == nil {
			l.refused.Add(1)
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
			}
			err = l.c.submit(ctx, l.project)
		}
		if err != nil && ctx.Err() == nil {
			l.mu.Lock()
			if l.err == nil {
				l.err = err
			}
			l.mu.Unlock()
		}
		l.submitted.Add(1)
	}
}

func (l *load) failure() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// end stops submitting and waits for the calls under way.
func (l *load) end() error {
	l.stopped.Store(true)
	l.wg.Wait()
	l.stop()
	return l.failure()
}
