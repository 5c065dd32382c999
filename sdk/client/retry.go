package client

import (
	"context"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/slipway-ci/slipway/internal/rpcerr"
)

// Backoff between tries: doubled from first to last, with full jitter on the upper half.
const (
	firstPause = 50 * time.Millisecond
	lastPause  = 2 * time.Second
)

// retry repeats call while it fails in a way that another try may heal, until the patience or ctx ends. call must be
// safe to repeat.
func (c *Client) retry(ctx context.Context, op string, call func(context.Context) error) error {
	t := c.newTries()
	for {
		err := call(ctx)
		if err == nil {
			c.answered.Store(true)
			return nil
		}
		if !c.again(ctx, t, err) {
			return c.wrap(op, err)
		}
	}
}

// tries is the state of one operation's retrying.
type tries struct {
	began time.Time
	pause time.Duration
}

func (c *Client) newTries() *tries { return &tries{began: time.Now(), pause: firstPause} }

// progress forgets past failures: the operation got somewhere.
func (t *tries) progress() { t.began, t.pause = time.Now(), firstPause }

// again says whether err deserves another try, after having waited for it.
func (c *Client) again(ctx context.Context, t *tries, err error) bool {
	if !transient(err) {
		c.noteAnswer(err)
		return false
	}
	c.noteAnswer(err)
	patience := c.firstPatience
	if c.answered.Load() {
		patience = c.patience
	}
	if time.Since(t.began)+t.pause > patience {
		return false
	}
	timer := time.NewTimer(t.pause/2 + rand.N(t.pause/2))
	defer timer.Stop()
	t.pause = min(t.pause*2, lastPause)
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// noteAnswer remembers that something which speaks Slipway answered, even if with an error.
func (c *Client) noteAnswer(err error) {
	if rpcerr.ReasonOf(err) != "" {
		c.answered.Store(true)
	}
}

// transient says that the same call may succeed later: nobody there, no leader, store away, or too busy.
func transient(err error) bool {
	return status.Code(err) == codes.Unavailable || rpcerr.ReasonOf(err) == rpcerr.Busy
}
