package commit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/slipway-ci/slipway/coordinator/store"
)

// The pause before a proposal is repeated grows from first to last.
const (
	firstPause = 20 * time.Millisecond
	lastPause  = 2 * time.Second
)

// write proposes a batch until its outcome is definite.
func (c *Committer) write(batch []*Transition) []Outcome {
	txn := store.Txn{Fence: c.c.Fence}
	for _, t := range batch {
		txn.Branches = append(txn.Branches, store.Branch{Compares: t.Compares, Ops: t.Ops})
	}
	unknown := false
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		res, err := c.propose(txn)
		switch {
		case err == nil && res.Fenced:
			c.fence()
			return all(batch, ErrStopped)
		case err == nil:
			return c.resolve(batch, res, unknown)
		case errors.Is(err, store.ErrInvalid):
			return c.oneByOne(batch, err)
		case !errors.Is(err, store.ErrUnavailable):
			unknown = true
		}
		c.c.Log.Warn("a transaction has no definite outcome yet; proposing it again", "error", err, "transitions", len(batch), "unknown", unknown)
		if !c.wait(pause) {
			return all(batch, ErrStopped)
		}
	}
}

func (c *Committer) propose(txn store.Txn) (store.TxnResult, error) {
	ctx, cancel := context.WithTimeout(c.ctx, c.c.Timeout)
	defer cancel()
	if err := c.at(ctx, BeforeCommit, store.ErrUnavailable); err != nil {
		return store.TxnResult{}, err
	}
	res, err := c.c.Store.Commit(ctx, txn)
	if ferr := c.at(ctx, AfterCommit, store.ErrUnknown); ferr != nil {
		return store.TxnResult{}, ferr
	}
	return res, err
}

// at asks the failpoint; its error becomes what the store would say.
func (c *Committer) at(ctx context.Context, p Point, as error) error {
	if c.c.Failpoint == nil {
		return nil
	}
	if err := c.c.Failpoint(ctx, p); err != nil {
		return fmt.Errorf("%w: %s: %w", as, p, err)
	}
	return nil
}

// oneByOne separates the transition that the store refuses from those it was grouped with.
func (c *Committer) oneByOne(batch []*Transition, err error) []Outcome {
	if len(batch) == 1 {
		return all(batch, err)
	}
	var out []Outcome
	for _, t := range batch {
		out = append(out, c.write([]*Transition{t})...)
	}
	return out
}

func (c *Committer) resolve(batch []*Transition, res store.TxnResult, unknown bool) []Outcome {
	out := make([]Outcome, len(batch))
	for i, t := range batch {
		switch {
		case res.Branches[i]:
			out[i] = Outcome{Revision: res.Revision}
		case unknown:
			out[i] = c.recognise(t)
		default:
			out[i] = Outcome{Err: ErrConflict}
		}
	}
	return out
}

// recognise tells whether an earlier proposal of t, whose outcome was unknown, is why its compares fail now. The first write says so: it has
// t's id in it. A deleted key does, too, where t only deletes: while the fence holds nobody else deletes.
func (c *Committer) recognise(t *Transition) Outcome {
	mark := t.Ops[0]
	if i := slices.IndexFunc(t.Ops, func(op store.Op) bool { return !op.Delete }); i >= 0 {
		mark = t.Ops[i]
	}
	kv, found, ok := c.read(mark.Key)
	switch {
	case !ok:
		return Outcome{Err: ErrStopped}
	case found != mark.Delete && bytes.Equal(kv.Value, mark.Value):
		return Outcome{Revision: kv.ModRevision}
	}
	return Outcome{Err: ErrConflict}
}

func (c *Committer) read(key string) (kv store.KV, found, ok bool) {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		ctx, cancel := context.WithTimeout(c.ctx, c.c.Timeout)
		kv, found, err := c.get(ctx, key)
		cancel()
		if err == nil {
			return kv, found, true
		}
		if !c.wait(pause) {
			return store.KV{}, false, false
		}
	}
}

func (c *Committer) get(ctx context.Context, key string) (kv store.KV, found bool, err error) {
	if err := c.at(ctx, BeforeRead, store.ErrUnavailable); err != nil {
		return store.KV{}, false, err
	}
	if kv, found, err = c.c.Store.Get(ctx, key); err != nil {
		return store.KV{}, false, err
	}
	return kv, found, c.at(ctx, AfterRead, store.ErrUnavailable)
}

func (c *Committer) wait(d time.Duration) bool {
	over := make(chan struct{})
	stop := c.c.Clock.AfterFunc(d, func() { close(over) })
	select {
	case <-over:
		return true
	case <-c.ctx.Done():
		stop()
		return false
	}
}

func (c *Committer) fence() {
	c.fenced.Do(func() {
		c.c.Log.Warn("a transaction was fenced: another coordinator leads")
		if c.c.OnFenced != nil {
			c.c.OnFenced()
		}
		c.stop()
	})
}

func all(batch []*Transition, err error) []Outcome {
	out := make([]Outcome, len(batch))
	for i := range out {
		out[i].Err = err
	}
	return out
}
