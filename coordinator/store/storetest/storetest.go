// Package storetest holds the one suite that every store.Store passes.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/slipway-ci/slipway/coordinator/store"
)

// Run checks the contract of store.Store. open returns a store that is empty below "/t/"; Run closes it.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	t.Helper()
	for _, c := range []struct {
		name string
		f    func(*testing.T, store.Store)
	}{
		{"put, get and revisions", putGet},
		{"absent keys", absent},
		{"range in order with limit", ranges},
		{"a failed branch fails alone", branches},
		{"a failed fence stops everything", fence},
		{"compares see the state before", before},
		{"create revision survives writes, not deletion", createRevision},
		{"a key twice is refused", twice},
		{"a range is deleted whole", deleteRange},
		{"big batches", bigBatch},
		{"the largest transaction, and a larger one", largest},
		{"concurrent increments lose nothing", concurrent},
		{"a cancelled context", cancelled},
		{"closed", closed},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := open(t)
			t.Cleanup(func() { _ = s.Close() })
			c.f(t, s)
		})
	}
}

func put(key, value string) store.Op { return store.Op{Key: key, Value: []byte(value)} }

func commit(t *testing.T, s store.Store, txn store.Txn) store.TxnResult {
	t.Helper()
	res, err := s.Commit(t.Context(), txn)
	if err != nil {
		t.Fatal(err)
	}
	if len(res.Branches) != len(txn.Branches) {
		t.Fatalf("%d branches, %d results", len(txn.Branches), len(res.Branches))
	}
	return res
}

func write(t *testing.T, s store.Store, ops ...store.Op) int64 {
	t.Helper()
	res := commit(t, s, store.Txn{Branches: []store.Branch{{Ops: ops}}})
	if res.Fenced || !res.Branches[0] {
		t.Fatalf("not written: %+v", res)
	}
	return res.Revision
}

func get(t *testing.T, s store.Store, key string) (store.KV, bool) {
	t.Helper()
	kv, ok, err := s.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	return kv, ok
}

func want(t *testing.T, s store.Store, key, value string) {
	t.Helper()
	kv, ok := get(t, s, key)
	if !ok || string(kv.Value) != value {
		t.Fatalf("%s is %q (found %v), want %q", key, kv.Value, ok, value)
	}
}

func putGet(t *testing.T, s store.Store) {
	rev := write(t, s, put("/t/a", "1"), put("/t/b", "2"))
	for _, k := range []string{"/t/a", "/t/b"} {
		kv, ok := get(t, s, k)
		if !ok || kv.Key != k || kv.ModRevision != rev || kv.CreateRevision != rev {
			t.Fatalf("%+v at revision %d", kv, rev)
		}
	}
	rev2 := write(t, s, put("/t/a", "3"))
	kv, _ := get(t, s, "/t/a")
	if rev2 <= rev || kv.ModRevision != rev2 || kv.CreateRevision != rev || string(kv.Value) != "3" {
		t.Fatalf("%+v after revisions %d, %d", kv, rev, rev2)
	}
}

func largest(t *testing.T, s store.Store) {
	const key = "/t/large"
	write(t, s, put(key, strings.Repeat("x", store.MaxTxnBytes-len(key))))
	txn := store.Txn{Branches: []store.Branch{{Ops: []store.Op{put(key, strings.Repeat("y", store.MaxTxnBytes))}}}}
	if _, err := s.Commit(t.Context(), txn); !errors.Is(err, store.ErrInvalid) {
		t.Fatalf("%v", err)
	}
	if kv, _ := get(t, s, key); kv.Value[0] != 'x' {
		t.Fatal("a refused transaction was done")
	}
}

func absent(t *testing.T, s store.Store) {
	if _, ok := get(t, s, "/t/none"); ok {
		t.Fatal("found a key that nobody wrote")
	}
	ifAbsent := store.Txn{Branches: []store.Branch{{Compares: []store.Compare{{Key: "/t/x"}}, Ops: []store.Op{put("/t/x", "first")}}}}
	if res := commit(t, s, ifAbsent); !res.Branches[0] {
		t.Fatal("an absent key is not absent")
	}
	if res := commit(t, s, ifAbsent); res.Branches[0] || res.Fenced {
		t.Fatal("a present key is absent")
	}
	write(t, s, store.Op{Key: "/t/x", Delete: true}, store.Op{Key: "/t/never", Delete: true})
	if _, ok := get(t, s, "/t/x"); ok {
		t.Fatal("deleted key is there")
	}
	if res := commit(t, s, ifAbsent); !res.Branches[0] {
		t.Fatal("a deleted key is not absent")
	}
}

func ranges(t *testing.T, s store.Store) {
	for i := range 10 {
		write(t, s, put(fmt.Sprintf("/t/%02d", 9-i), fmt.Sprint(9-i)))
	}
	for _, c := range []struct {
		from, to    string
		limit, want int
		more        bool
	}{
		{"/t/", "/t0", 0, 10, false}, {"/t/03", "/t/07", 0, 4, false}, {"/t/03", "/t/07", 4, 4, false},
		{"/t/03", "/t/07", 3, 3, true}, {"/t/a", "/t/b", 0, 0, false}, {"/t/", store.PrefixEnd("/t/"), 1, 1, true},
	} {
		kvs, more, err := s.Range(t.Context(), c.from, c.to, c.limit)
		if err != nil || len(kvs) != c.want || more != c.more {
			t.Fatalf("%+v: %d keys, more %v, %v", c, len(kvs), more, err)
		}
		for i := 1; i < len(kvs); i++ {
			if kvs[i-1].Key >= kvs[i].Key {
				t.Fatalf("out of order: %s, %s", kvs[i-1].Key, kvs[i].Key)
			}
		}
	}
}

func branches(t *testing.T, s store.Store) {
	rev := write(t, s, put("/t/a", "0"), put("/t/b", "0"))
	res := commit(t, s, store.Txn{Branches: []store.Branch{
		{Compares: []store.Compare{{Key: "/t/a", Revision: rev}}, Ops: []store.Op{put("/t/a", "1"), put("/t/new", "1")}},
		{Compares: []store.Compare{{Key: "/t/b", Revision: rev + 1000}}, Ops: []store.Op{put("/t/b", "1")}},
		{Compares: []store.Compare{{Key: "/t/b", Revision: rev}, {Key: "/t/c"}}, Ops: []store.Op{put("/t/c", "1")}},
	}})
	if got := fmt.Sprint(res.Branches); got != "[true false true]" || res.Fenced {
		t.Fatalf("%+v", res)
	}
	want(t, s, "/t/a", "1")
	want(t, s, "/t/b", "0")
	want(t, s, "/t/c", "1")
	kv, _ := get(t, s, "/t/c")
	if kv.ModRevision != res.Revision {
		t.Fatalf("wrote at %d, said %d", kv.ModRevision, res.Revision)
	}
}

func fence(t *testing.T, s store.Store) {
	rev := write(t, s, put("/t/leader", "me"))
	write(t, s, put("/t/leader", "me still"))
	good := store.Compare{Key: "/t/leader", Create: true, Revision: rev}
	txn := store.Txn{Fence: []store.Compare{good}, Branches: []store.Branch{{Ops: []store.Op{put("/t/v", "1")}}}}
	if res := commit(t, s, txn); res.Fenced || !res.Branches[0] {
		t.Fatalf("%+v", res)
	}
	write(t, s, store.Op{Key: "/t/leader", Delete: true})
	write(t, s, put("/t/leader", "other"))
	txn.Branches = []store.Branch{{Ops: []store.Op{put("/t/v", "2")}}, {Ops: []store.Op{put("/t/w", "2")}}}
	if res := commit(t, s, txn); !res.Fenced || res.Branches[0] || res.Branches[1] {
		t.Fatalf("%+v", res)
	}
	want(t, s, "/t/v", "1")
}

func before(t *testing.T, s store.Store) {
	res := commit(t, s, store.Txn{Branches: []store.Branch{
		{Ops: []store.Op{put("/t/a", "1")}},
		{Compares: []store.Compare{{Key: "/t/a"}}, Ops: []store.Op{put("/t/b", "1")}},
	}})
	if !res.Branches[0] || !res.Branches[1] {
		t.Fatalf("a compare saw a write of its own transaction: %+v", res)
	}
}

func createRevision(t *testing.T, s store.Store) {
	first := write(t, s, put("/t/a", "1"))
	write(t, s, put("/t/a", "2"))
	if kv, _ := get(t, s, "/t/a"); kv.CreateRevision != first {
		t.Fatalf("%+v, created at %d", kv, first)
	}
	write(t, s, store.Op{Key: "/t/a", Delete: true})
	again := write(t, s, put("/t/a", "3"))
	if kv, _ := get(t, s, "/t/a"); kv.CreateRevision != again {
		t.Fatalf("%+v, created again at %d", kv, again)
	}
}

func deleteRange(t *testing.T, s store.Store) {
	t.Helper()
	write(t, s, put("/t/a", "1"), put("/t/b/1", "1"), put("/t/b/2", "1"), put("/t/b/3", "1"), put("/t/c", "1"))
	span := store.Op{Key: "/t/b/", To: store.PrefixEnd("/t/b/"), Delete: true}
	commit(t, s, store.Txn{Branches: []store.Branch{{Ops: []store.Op{span, put("/t/a", "2")}}}})
	kvs, _, err := s.Range(t.Context(), "/t/", store.PrefixEnd("/t/"), 0)
	if err != nil || len(kvs) != 2 || kvs[0].Key != "/t/a" || string(kvs[0].Value) != "2" || kvs[1].Key != "/t/c" {
		t.Fatalf("after the deletion: %v, %v", kvs, err)
	}
	commit(t, s, store.Txn{Branches: []store.Branch{{Ops: []store.Op{span}}}}) // nothing is there any more
	for _, bad := range [][]store.Op{{span, put("/t/b/2", "x")}, {{Key: "/t/b/", To: "/t/b0", Value: []byte("x")}}, {{Key: "/t/b", To: "/t/a", Delete: true}}} {
		if _, err := s.Commit(t.Context(), store.Txn{Branches: []store.Branch{{Ops: bad}}}); !errors.Is(err, store.ErrInvalid) {
			t.Errorf("%v: %v, want ErrInvalid", bad, err)
		}
	}
}

func twice(t *testing.T, s store.Store) {
	for _, txn := range []store.Txn{
		{Branches: []store.Branch{{Ops: []store.Op{put("/t/a", "1")}}, {Ops: []store.Op{put("/t/a", "2")}}}},
		{Branches: []store.Branch{{Ops: []store.Op{put("/t/a", "1"), {Key: "/t/a", Delete: true}}}}},
		{Branches: []store.Branch{{Ops: []store.Op{put("", "1")}}}},
		{Fence: []store.Compare{{}}},
	} {
		if _, err := s.Commit(t.Context(), txn); !errors.Is(err, store.ErrInvalid) {
			t.Fatalf("%+v: %v", txn, err)
		}
	}
	if _, ok := get(t, s, "/t/a"); ok {
		t.Fatal("a refused transaction wrote")
	}
}

func bigBatch(t *testing.T, s store.Store) {
	var txn store.Txn
	for i := range 64 {
		b := store.Branch{}
		for j := range 16 {
			k := fmt.Sprintf("/t/%d/%d", i, j)
			b.Compares = append(b.Compares, store.Compare{Key: k})
			b.Ops = append(b.Ops, put(k, "v"))
		}
		txn.Branches = append(txn.Branches, b)
	}
	res := commit(t, s, txn)
	for i, ok := range res.Branches {
		if !ok {
			t.Fatalf("branch %d failed", i)
		}
	}
	kvs, _, err := s.Range(t.Context(), "/t/", "/t0", 0)
	if err != nil || len(kvs) != 64*16 {
		t.Fatalf("%d keys, %v", len(kvs), err)
	}
}

func concurrent(t *testing.T, s store.Store) {
	write(t, s, put("/t/n", ""))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for done := 0; done < 10; {
				kv, _, err := s.Get(t.Context(), "/t/n")
				if err != nil {
					t.Error(err)
					return
				}
				res, err := s.Commit(t.Context(), store.Txn{Branches: []store.Branch{{
					Compares: []store.Compare{{Key: "/t/n", Revision: kv.ModRevision}},
					Ops:      []store.Op{{Key: "/t/n", Value: append(kv.Value, 'x')}},
				}}})
				if err != nil {
					t.Error(err)
					return
				}
				if res.Branches[0] {
					done++
				}
			}
		})
	}
	wg.Wait()
	if kv, _ := get(t, s, "/t/n"); len(kv.Value) != 40 {
		t.Fatalf("%d of 40 increments", len(kv.Value))
	}
}

func cancelled(t *testing.T, s store.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := s.Get(ctx, "/t/a"); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("Get: %v", err)
	}
	if _, _, err := s.Range(ctx, "/t/", "/t0", 0); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("Range: %v", err)
	}
	_, err := s.Commit(ctx, store.Txn{Branches: []store.Branch{{Ops: []store.Op{put("/t/a", "1")}}}})
	if !errors.Is(err, store.ErrUnavailable) && !errors.Is(err, store.ErrUnknown) {
		t.Fatalf("Commit: %v", err)
	}
}

func closed(t *testing.T, s store.Store) {
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := s.Get(t.Context(), "/t/a"); !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("Get: %v", err)
	}
	_, err := s.Commit(t.Context(), store.Txn{Branches: []store.Branch{{Ops: []store.Op{put("/t/a", "1")}}}})
	if !errors.Is(err, store.ErrUnavailable) {
		t.Fatalf("Commit: %v", err)
	}
}
