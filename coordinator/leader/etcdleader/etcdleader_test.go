package etcdleader_test

import (
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/coordinator/leader"
	"github.com/slipway-ci/slipway/coordinator/leader/etcdleader"
	"github.com/slipway-ci/slipway/coordinator/store"
	"github.com/slipway-ci/slipway/coordinator/store/etcdstore"
	"github.com/slipway-ci/slipway/coordinator/store/memstore"
	"github.com/slipway-ci/slipway/internal/clock"
)

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

func etcd(t *testing.T) *etcdstore.Embedded {
	t.Helper()
	dir, err := os.MkdirTemp("", "etcd")
	if err != nil {
		t.Fatal(err)
	}
	e, err := etcdstore.Start(t.Context(), etcdstore.EmbedConfig{Dir: dir, Socket: filepath.Join(dir, "s"), Log: quiet})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close(); _ = os.RemoveAll(dir) })
	return e
}

func write(t *testing.T, s store.Store, term leader.Term) bool {
	t.Helper()
	res, err := s.Commit(t.Context(), store.Txn{Fence: term.Fence(), Branches: []store.Branch{{Ops: []store.Op{{Key: "/t/v"}}}}})
	if err != nil {
		t.Fatal(err)
	}
	return !res.Fenced
}

func campaign(t *testing.T, e leader.Elector) leader.Term {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	term, err := e.Campaign(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return term
}

func TestSingleFencesTheFormerTerm(t *testing.T) {
	s := memstore.New()
	e := &leader.Single{Store: s, Key: "/t/leader", Name: "a"}
	one := campaign(t, e)
	if !write(t, s, one) {
		t.Fatal("the leader is fenced")
	}
	two := campaign(t, e)
	if write(t, s, one) || !write(t, s, two) {
		t.Fatal("the former leader writes, or the new one does not")
	}
	if err := two.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if two.Valid() || write(t, s, two) {
		t.Fatal("a closed term is trusted")
	}
	<-two.Done()
}

func TestEtcdHandsOverOnClose(t *testing.T) {
	e := etcd(t)
	mk := func(name string) leader.Elector {
		return etcdleader.New(etcdleader.Config{Client: e.Client(), Prefix: "/t/election/", Name: name, TTL: time.Hour, Clock: clock.Real{}, Log: quiet})
	}
	one := campaign(t, mk("one"))
	if !one.Valid() || !write(t, e.Store(), one) {
		t.Fatal("the leader can't write")
	}
	won := make(chan leader.Term, 1)
	go func() {
		if term, err := mk("two").Campaign(t.Context()); err == nil {
			won <- term
		}
		close(won)
	}()
	if err := one.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The lease lasts an hour: only the hand-over lets the second win.
	two := <-won
	if two == nil || !write(t, e.Store(), two) || write(t, e.Store(), one) || one.Valid() {
		t.Fatal("no hand-over")
	}
	if err := two.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestEtcdExclusiveDoesNotWaitForADeadPredecessor(t *testing.T) {
	e := etcd(t)
	mk := func(name string) leader.Elector {
		return etcdleader.New(etcdleader.Config{Client: e.Client(), Prefix: "/t/election/", Name: name, TTL: time.Hour, Exclusive: true,
			Clock: clock.Real{}, Log: quiet})
	}
	dead := campaign(t, mk("dead"))
	next := campaign(t, mk("next"))
	if write(t, e.Store(), dead) || !write(t, e.Store(), next) {
		t.Fatal("the dead leader is not fenced")
	}
	_ = dead.Close(t.Context())
	_ = next.Close(t.Context())
}

func TestEtcdTrustEndsBeforeTheLease(t *testing.T) {
	e := etcd(t)
	c := clock.NewFake(time.Unix(1_700_000_000, 0))
	mk := etcdleader.New(etcdleader.Config{Client: e.Client(), Prefix: "/t/election/", Name: "x", TTL: 30 * time.Second, Margin: 10 * time.Second, Clock: c, Log: quiet})
	term := campaign(t, mk)
	// The lease vanishes: no renewal can succeed any more.
	if _, err := e.Client().Delete(t.Context(), "/t/election/"); err != nil {
		t.Fatal(err)
	}
	leases, err := e.Client().Leases(t.Context())
	if err != nil || len(leases.Leases) != 1 {
		t.Fatalf("%+v %v", leases, err)
	}
	if _, err := e.Client().Revoke(t.Context(), leases.Leases[0].ID); err != nil {
		t.Fatal(err)
	}
	if write(t, e.Store(), term) {
		t.Fatal("writes are not fenced after the lease")
	}
	if !term.Valid() {
		t.Fatal("trust ended at once")
	}
	c.Advance(20 * time.Second)
	if term.Valid() {
		t.Fatal("still trusted at TTL - margin")
	}
	_ = term.Close(t.Context())
}
