package simulation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/coordinator/leader"
	"github.com/slipway-ci/slipway/coordinator/store"
	"github.com/slipway-ci/slipway/coordinator/store/memstore"
)

const (
	leaderKey = root + "leader/sim"
	// storeTimeout is how long a process waits for the store's answer.
	storeTimeout = 5 * time.Second
	// leaseTTL, and how much of it a leader trusts.
	leaseTTL    = 6 * time.Second
	leaseRenew  = 2 * time.Second
	trustWindow = 5 * time.Second
)

// simStore is the store that all coordinators share: a memstore behind a network.
type simStore struct {
	w    *world
	data *memstore.Store
	// outage: nobody reaches it. cut are the processes that do not.
	outage bool
	cut    map[string]bool
	// faults scales how often single calls fail; 0 after the faults have stopped.
	faults float64

	lease    *lease
	awaiting []*campaign
}

// lease is the leadership as the store has it.
type lease struct {
	term    *term
	expires time.Duration
}

type campaign struct {
	n    *node
	life int
	take func(*term)
}

func newStore(w *world) *simStore {
	return &simStore{w: w, data: memstore.New(), cut: map[string]bool{}}
}

// do applies a transaction now, and tells the checker.
func (s *simStore) do(who string, t *term, txn store.Txn) (store.TxnResult, error) {
	res, err := s.data.Commit(context.Background(), txn)
	if err != nil {
		return res, err
	}
	leads := s.lease != nil && s.lease.term == t
	for i, b := range txn.Branches {
		if res.Branches[i] {
			s.w.check.applied(who, leads, b.Ops)
		}
	}
	return res, nil
}

// handle is the store as one life of a process sees it.
type handle struct {
	s *simStore
	n *node
	// life of the process; a handle of an earlier one does nothing.
	life int
	// term, once it leads.
	term *term
}

var _ store.Store = (*handle)(nil)

type reply[T any] struct {
	v   T
	err error
}

// call parks the caller until the loop has answered, or ctx ends.
func call[T any](ctx context.Context, l *loop, key string, take func(answer func(T, error))) (T, error) {
	answered := make(chan reply[T], 1)
	l.park(key, func() {
		take(func(v T, err error) {
			select {
			case answered <- reply[T]{v, err}:
			default: // answered before
			}
		})
	})
	select {
	case r := <-answered:
		return r.v, r.err
	case <-ctx.Done():
		var zero T
		return zero, ctx.Err()
	}
}

func (h *handle) dead() bool { return !h.n.up || h.n.life != h.life }

var errGone = fmt.Errorf("%w: the process is gone", store.ErrUnavailable)

// reachable draws whether and how soon a request gets to the store.
func (h *handle) reachable() bool { return !h.s.outage && !h.s.cut[h.n.name] }

func (h *handle) latency() time.Duration {
	l := h.n.l
	if l.chance(0.02 * h.s.faults) {
		return l.between(time.Second, 9*time.Second)
	}
	return l.between(200*time.Microsecond, 12*time.Millisecond)
}

// Get implements store.Store.
func (h *handle) Get(ctx context.Context, key string) (store.KV, bool, error) {
	type found struct {
		kv store.KV
		ok bool
	}
	r, err := call(ctx, h.n.l, "store/"+h.n.name+"/get/"+key, func(answer func(found, error)) {
		h.read(func() {
			kv, ok, err := h.s.data.Get(context.Background(), key)
			answer(found{kv, ok}, err)
		}, func(err error) { answer(found{}, err) })
	})
	return r.kv, r.ok, unavailable(err)
}

// Range implements store.Store.
func (h *handle) Range(ctx context.Context, from, to string, limit int) ([]store.KV, bool, error) {
	type page struct {
		kvs  []store.KV
		more bool
	}
	r, err := call(ctx, h.n.l, "store/"+h.n.name+"/range/"+from, func(answer func(page, error)) {
		h.read(func() {
			kvs, more, err := h.s.data.Range(context.Background(), from, to, limit)
			answer(page{kvs, more}, err)
		}, func(err error) { answer(page{}, err) })
	})
	return r.kvs, r.more, unavailable(err)
}

// read answers after a while from what the store holds then, or not at all.
func (h *handle) read(do func(), fail func(error)) {
	if h.dead() {
		fail(errGone)
		return
	}
	d := h.latency()
	if d >= storeTimeout || !h.reachable() || h.n.l.chance(0.01*h.s.faults) {
		h.n.after(min(d, storeTimeout), func() { fail(fmt.Errorf("%w: simulated", store.ErrUnavailable)) })
		return
	}
	h.n.after(d, do)
}

func unavailable(err error) error {
	if err != nil && !errors.Is(err, store.ErrUnavailable) {
		return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
	}
	return err
}

// Commit implements store.Store.
func (h *handle) Commit(ctx context.Context, txn store.Txn) (store.TxnResult, error) {
	if err := txn.Check(); err != nil {
		return store.TxnResult{}, err
	}
	res, err := call(ctx, h.n.l, "store/"+h.n.name+"/commit/"+keysOf(txn), func(answer func(store.TxnResult, error)) { h.commit(txn, answer) })
	if err != nil && ctx.Err() != nil && !errors.Is(err, store.ErrUnavailable) {
		err = fmt.Errorf("%w: %w", store.ErrUnknown, err)
	}
	return res, err
}

func keysOf(txn store.Txn) string {
	var b strings.Builder
	for _, br := range txn.Branches {
		for _, op := range br.Ops {
			b.WriteString(op.Key)
			b.WriteByte(' ')
		}
	}
	return b.String()
}

// commit draws what becomes of a transaction: it is refused, it or its answer is lost or late, or all goes well.
func (h *handle) commit(txn store.Txn, answer func(store.TxnResult, error)) {
	if h.dead() {
		answer(store.TxnResult{}, errGone)
		return
	}
	l, w, f := h.n.l, h.s.w, h.s.faults
	there, back := h.latency(), h.latency()
	lost, silent := false, false
	switch {
	case !h.reachable() && l.chance(0.5), l.chance(0.03 * f):
		w.hist.add("store", nil, "refuses a transaction of %s", h.n.name)
		h.n.after(back, func() { answer(store.TxnResult{}, fmt.Errorf("%w: simulated", store.ErrUnavailable)) })
		return
	case !h.reachable(), l.chance(0.01 * f):
		lost = true
	case l.chance(0.03 * f):
		silent = true
	}
	answered := false
	once := func(r store.TxnResult, err error) {
		if !answered {
			answered = true
			answer(r, err)
		}
	}
	if !lost {
		who, t := h.n.name, h.term
		l.after(there, func() {
			r, err := h.s.do(who, t, txn)
			if !silent {
				h.n.after(back, func() { once(r, err) })
			}
		})
	}
	if lost || silent || there+back >= storeTimeout {
		h.n.after(storeTimeout, func() {
			if !answered {
				w.hist.add("store", nil, "%s does not know what became of a transaction", h.n.name)
			}
			once(store.TxnResult{}, fmt.Errorf("%w: simulated", store.ErrUnknown))
		})
	}
}

// Close implements store.Store.
func (h *handle) Close() error { return nil }

// term is one time of leading.
type term struct {
	h     *handle
	fence store.Compare
	// renewed is the local time in front of the last renewal that went well.
	renewed time.Duration
	done    chan struct{}
	closed  bool
}

var _ leader.Term = (*term)(nil)

// Fence implements leader.Term.
func (t *term) Fence() []store.Compare { return []store.Compare{t.fence} }

// Valid implements leader.Term.
func (t *term) Valid() bool {
	select {
	case <-t.done:
		return false
	default:
		return t.h.n.l.now-t.renewed < trustWindow
	}
}

// Done implements leader.Term.
func (t *term) Done() <-chan struct{} { return t.done }

// Close implements leader.Term.
func (t *term) Close(ctx context.Context) error {
	_, err := call(ctx, t.h.n.l, "store/"+t.h.n.name+"/resign", func(answer func(struct{}, error)) {
		t.end()
		if t.h.dead() {
			answer(struct{}{}, errGone)
			return
		}
		t.h.n.l.after(t.h.latency(), func() {
			if t.h.reachable() {
				t.h.s.drop(t, "resigned")
			}
			answer(struct{}{}, nil)
		})
	})
	return err
}

// end is the loop's.
func (t *term) end() {
	if !t.closed {
		t.closed = true
		close(t.done)
	}
}

// Campaign implements leader.Elector: it waits until the lease is free.
func (h *handle) Campaign(ctx context.Context) (leader.Term, error) {
	t, err := call(ctx, h.n.l, "store/"+h.n.name+"/campaign", func(answer func(*term, error)) {
		if h.dead() {
			answer(nil, errGone)
			return
		}
		h.n.l.after(h.latency(), func() {
			h.s.awaiting = append(h.s.awaiting, &campaign{n: h.n, life: h.life, take: func(t *term) {
				h.n.after(h.latency(), func() { answer(t, nil) })
				h.term = t
				t.h = h
			}})
			h.s.elect()
		})
	})
	if err != nil {
		return nil, err
	}
	h.n.l.park("store/"+h.n.name+"/renew", t.renew)
	return t, nil
}

// elect gives a free lease to the first that waits for it.
func (s *simStore) elect() {
	s.awaiting = slices.DeleteFunc(s.awaiting, func(c *campaign) bool { return !c.n.up || c.n.life != c.life })
	for s.lease == nil && !s.outage {
		i := slices.IndexFunc(s.awaiting, func(c *campaign) bool { return !s.cut[c.n.name] })
		if i < 0 {
			return
		}
		c := s.awaiting[i]
		s.awaiting = slices.Delete(s.awaiting, i, i+1)
		res, err := s.data.Commit(context.Background(), store.Txn{Branches: []store.Branch{{Ops: []store.Op{{Key: leaderKey, Value: []byte(c.n.name)}}}}})
		if err != nil {
			s.w.l.fail("electing: %w", err)
			return
		}
		t := &term{fence: store.Compare{Key: leaderKey, Create: true, Revision: res.Revision}, renewed: s.w.l.now, done: make(chan struct{})}
		s.lease = &lease{term: t, expires: s.w.l.now + leaseTTL}
		s.w.hist.add("store", nil, "%s leads, fence %d", c.n.name, res.Revision)
		c.take(t)
		s.watch(s.lease)
	}
}

// watch ends a lease that nobody renewed.
func (s *simStore) watch(le *lease) {
	s.w.l.after(le.expires-s.w.l.now, func() {
		switch {
		case s.lease != le:
		case s.w.l.now < le.expires:
			s.watch(le)
		default:
			s.drop(le.term, "expired")
		}
	})
}

// drop ends a term's lease, if it is the current one.
func (s *simStore) drop(t *term, why string) {
	if s.lease == nil || s.lease.term != t {
		return
	}
	if _, err := s.data.Commit(context.Background(), store.Txn{Branches: []store.Branch{{Ops: []store.Op{{Key: leaderKey, Delete: true}}}}}); err != nil {
		s.w.l.fail("ending a lease: %w", err)
	}
	s.lease = nil
	s.w.hist.add("store", nil, "the lease of %s %s", t.h.n.name, why)
	s.elect()
}

// renew keeps the lease, again and again.
func (t *term) renew() {
	h := t.h
	if t.closed || h.dead() {
		return
	}
	begin := h.n.l.now
	if d := h.latency(); h.reachable() && d < storeTimeout {
		h.n.l.after(d, func() {
			if h.s.lease == nil || h.s.lease.term != t {
				h.n.after(0, t.end)
				return
			}
			h.s.lease.expires = h.n.l.now + leaseTTL
			h.n.after(h.latency(), func() { t.renewed = max(t.renewed, begin) })
		})
	}
	h.n.after(leaseRenew, t.renew)
}
