// Package etcdleader elects through a key on an etcd lease: the candidate with the oldest key leads.
package etcdleader

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/slipway-ci/slipway/coordinator/leader"
	"github.com/slipway-ci/slipway/coordinator/store"
	"github.com/slipway-ci/slipway/internal/clock"
)

// Config configures an election in etcd.
type Config struct {
	// Client over a connection (not in process: it watches).
	Client *clientv3.Client
	// Prefix of the candidates' keys, ending in "/".
	Prefix string
	// Name of this candidate, for people.
	Name string
	// TTL of the lease, in whole seconds; 0 is 5 s.
	TTL time.Duration
	// Margin is how much earlier than the lease trust ends; 0 is a third of the TTL.
	Margin time.Duration
	// Exclusive says that no other candidate can be alive (an embedded etcd, whose data directory is locked): keys that a killed
	// predecessor left are deleted instead of waited for.
	Exclusive bool
	Clock     clock.Clock
	Log       *slog.Logger
}

// Elector is a candidate; it implements leader.Elector.
type Elector struct{ c Config }

// New returns an elector.
func New(c Config) *Elector {
	if c.TTL < time.Second {
		c.TTL = 5 * time.Second
	}
	if c.Margin <= 0 || c.Margin >= c.TTL {
		c.Margin = c.TTL / 3
	}
	return &Elector{c: c}
}

// Campaign implements leader.Elector.
func (e *Elector) Campaign(ctx context.Context) (leader.Term, error) {
	before := e.c.Clock.Now()
	lease, err := e.c.Client.Grant(ctx, int64(e.c.TTL/time.Second))
	if err != nil {
		return nil, fmt.Errorf("election: lease: %w", err)
	}
	t := &term{c: e.c, lease: lease.ID, key: fmt.Sprintf("%s%x", e.c.Prefix, lease.ID), renewed: before, done: make(chan struct{})}
	run, cancel := context.WithCancel(context.WithoutCancel(ctx))
	t.stop = cancel
	t.kept = make(chan struct{})
	go t.keep(run)
	if err := t.win(ctx); err != nil {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.c.TTL)
		defer cancel()
		_ = t.Close(closing)
		return nil, err
	}
	e.c.Log.Info("leading", "name", e.c.Name, "revision", t.revision)
	return t, nil
}

type term struct {
	c        Config
	lease    clientv3.LeaseID
	key      string
	revision int64
	stop     context.CancelFunc
	kept     chan struct{}

	mu      sync.Mutex
	renewed time.Time
	over    bool
	done    chan struct{}
}

// win puts the candidate's key and waits until every older one is gone.
func (t *term) win(ctx context.Context) error {
	res, err := t.c.Client.Put(ctx, t.key, t.c.Name, clientv3.WithLease(t.lease))
	if err != nil {
		return fmt.Errorf("election: candidacy: %w", err)
	}
	t.revision = res.Header.Revision
	older := append(clientv3.WithLastCreate(), clientv3.WithMaxCreateRev(t.revision-1))
	for {
		res, err := t.c.Client.Get(ctx, t.c.Prefix, older...)
		if err != nil {
			return fmt.Errorf("election: who leads: %w", err)
		}
		if len(res.Kvs) == 0 {
			return t.confirm(ctx)
		}
		key := string(res.Kvs[0].Key)
		if t.c.Exclusive {
			if _, err := t.c.Client.Delete(ctx, key); err != nil {
				return fmt.Errorf("election: clear the former leader's key: %w", err)
			}
			continue
		}
		if err := t.waitDeleted(ctx, key, res.Header.Revision); err != nil {
			return err
		}
	}
}

// confirm checks that the lease, and with it our key, still lives: the wait may have been long.
func (t *term) confirm(ctx context.Context) error {
	res, err := t.c.Client.Get(ctx, t.key)
	if err != nil {
		return fmt.Errorf("election: confirm: %w", err)
	}
	if len(res.Kvs) == 0 || res.Kvs[0].CreateRevision != t.revision {
		return fmt.Errorf("election: the lease ran out before the election was won")
	}
	return nil
}

func (t *term) waitDeleted(ctx context.Context, key string, rev int64) error {
	watching, cancel := context.WithCancel(ctx)
	defer cancel()
	for w := range t.c.Client.Watch(clientv3.WithRequireLeader(watching), key, clientv3.WithRev(rev+1)) {
		if err := w.Err(); err != nil {
			return fmt.Errorf("election: watch %s: %w", key, err)
		}
		for _, ev := range w.Events {
			if ev.Type == clientv3.EventTypeDelete {
				return nil
			}
		}
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("election: %w", err)
	}
	return fmt.Errorf("election: the watch on %s ended", key)
}

// keep renews the lease three times within the trust window, and ends the term when trust has run out.
func (t *term) keep(ctx context.Context) {
	defer close(t.kept)
	every := t.trust() / 3
	for {
		tick := make(chan struct{})
		stop := t.c.Clock.AfterFunc(every, func() { close(tick) })
		select {
		case <-ctx.Done():
			stop()
			return
		case <-tick:
		}
		t.renew(ctx, every)
		if !t.Valid() {
			t.end("the lease was not renewed within the trust window")
			return
		}
	}
}

func (t *term) renew(ctx context.Context, limit time.Duration) {
	before := t.c.Clock.Now()
	call, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	res, err := t.c.Client.KeepAliveOnce(call, t.lease)
	if err != nil || res.TTL <= 0 {
		if ctx.Err() == nil {
			t.c.Log.Warn("the leader's lease was not renewed", "error", err)
		}
		return
	}
	t.mu.Lock()
	t.renewed = before
	t.mu.Unlock()
}

func (t *term) trust() time.Duration { return t.c.TTL - t.c.Margin }

func (t *term) end(why string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.over {
		return
	}
	t.over = true
	if why != "" {
		t.c.Log.Warn("no longer leading", "reason", why)
	}
	close(t.done)
}

// Fence implements leader.Term.
func (t *term) Fence() []store.Compare {
	return []store.Compare{{Key: t.key, Create: true, Revision: t.revision}}
}

// Valid implements leader.Term.
func (t *term) Valid() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return !t.over && t.c.Clock.Now().Before(t.renewed.Add(t.trust()))
}

// Done implements leader.Term.
func (t *term) Done() <-chan struct{} { return t.done }

// Close implements leader.Term. Revoking the lease deletes the key.
func (t *term) Close(ctx context.Context) error {
	t.end("")
	t.stop()
	<-t.kept
	if _, err := t.c.Client.Revoke(ctx, t.lease); err != nil {
		return fmt.Errorf("election: hand over (the lease ends by itself within %s): %w", t.c.TTL, err)
	}
	return nil
}
