package history_test

import (
	"bytes"
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/coordinator/blob/disk"
	"github.com/slipway-ci/slipway/coordinator/history"
	"github.com/slipway-ci/slipway/coordinator/seal"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// chain is one of a project p and its index.
type chain struct {
	*history.History
	t     *testing.T
	blobs *disk.Store
	head  *statev1.ChainHead
	// entries of the chain's runs, by id.
	entries map[string]history.Entry
}

func newChain(t *testing.T) *chain {
	t.Helper()
	c := &chain{t: t, entries: map[string]history.Entry{}}
	var err error
	if c.blobs, err = disk.Open(filepath.Join(t.TempDir(), "blobs")); err != nil {
		t.Fatal(err)
	}
	if c.History, err = history.Open(t.Context(), filepath.Join(t.TempDir(), "history.db"), c.blobs, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// after makes the bundle of a run in the place after a head.
func (c *chain) after(head *statev1.ChainHead, run string) (history.Entry, *statev1.ChainHead) {
	c.t.Helper()
	b := &statev1.Bundle{Header: &statev1.RunHeader{Id: run, Number: head.GetSeq() + 1}, Definition: &statev1.RunDefinition{Project: "p", Name: "CI"}}
	data, next, err := seal.Append(head, b)
	if err != nil {
		c.t.Fatal(err)
	}
	c.put(data)
	return history.Entry{Bundle: b, Digest: next.GetBundle(), Size: int64(len(data))}, next
}

func (c *chain) put(data []byte) {
	c.t.Helper()
	if _, _, err := c.blobs.Put(c.t.Context(), bytes.NewReader(data)); err != nil {
		c.t.Fatal(err)
	}
}

// seal appends runs as an archiver does.
func (c *chain) seal(runs ...string) {
	c.t.Helper()
	for _, run := range runs {
		e, next := c.after(c.head, run)
		c.add(e)
		if err := c.Advance(c.t.Context(), history.Move{From: c.head, To: next}); err != nil {
			c.t.Fatal(err)
		}
		c.head, c.entries[run] = next, e
	}
}

func (c *chain) add(e history.Entry) {
	c.t.Helper()
	if err := c.Add(c.t.Context(), []history.Entry{e}); err != nil {
		c.t.Fatal(err)
	}
}

func (c *chain) heads() map[string]*statev1.ChainHead {
	return map[string]*statev1.ChainHead{"p": c.head}
}

func (c *chain) complete() bool {
	c.t.Helper()
	complete, err := c.Complete(c.t.Context(), c.heads())
	if err != nil {
		c.t.Fatal(err)
	}
	return complete
}

// follows brings the index to the chain, and holds every entry against it.
func (c *chain) follows() {
	c.t.Helper()
	if _, err := c.Follow(c.t.Context(), c.heads()); err != nil {
		c.t.Fatal(err)
	}
	rows, err := c.Rows(c.t.Context())
	if err != nil || len(rows) != len(c.entries) || !c.complete() {
		c.t.Fatalf("complete: %t, %d entries of %d, %v", c.complete(), len(rows), len(c.entries), err)
	}
	for _, r := range rows {
		if want := c.entries[r.Run]; r.Bundle != want.Digest || r.Seq != want.Bundle.GetSeq() {
			c.t.Errorf("run %s is %s at %d", r.Run, r.Bundle, r.Seq)
		}
	}
}

// What is damaged and then repaired is found, though runs were sealed meanwhile.
func TestARepairedChainIsFoundAgain(t *testing.T) {
	c := newChain(t)
	c.seal("r1", "r2", "r3", "r4", "r5")
	damaged := c.entries["r3"].Digest
	data, err := seal.Encode(c.entries["r3"].Bundle)
	if err != nil {
		t.Fatal(err)
	}
	c.remove(damaged)
	lost, err := history.Open(t.Context(), filepath.Join(t.TempDir(), "again.db"), c.blobs, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = lost.Close() })
	c.History = lost
	if _, err := c.Follow(t.Context(), c.heads()); err == nil {
		t.Fatal("a chain without a bundle is followed")
	}
	c.seal("r6")
	if c.complete() {
		t.Fatal("an index without what is before the damage is complete")
	}
	c.put(data)
	c.follows()
}

func (c *chain) remove(digest string) {
	c.t.Helper()
	if removed, err := c.blobs.Remove(context.Background(), digest, time.Now().Add(time.Hour)); err != nil || !removed {
		c.t.Fatal(removed, err)
	}
}

// An index that says that it has all, and lacks some, gets it.
func TestWhatAnIndexLacksIsFound(t *testing.T) {
	c := newChain(t)
	c.seal("r1", "r2", "r3")
	if err := c.Forget(t.Context(), "p", 2); err != nil {
		t.Fatal(err)
	}
	if c.complete() {
		t.Error("an index without two runs is complete")
	}
	c.follows()
	// Also behind what it lacks beside them.
	if err := c.Forget(t.Context(), "p", 2); err != nil {
		t.Fatal(err)
	}
	before := c.head
	var e history.Entry
	e, c.head = c.after(before, "r4")
	c.entries["r4"] = e
	c.follows()
}

// An entry with another's place, or with a bundle that is in no chain, is not taken for what is missing.
func TestAWrongEntryDoesNotStandInForARightOne(t *testing.T) {
	c := newChain(t)
	c.seal("r1", "r2")
	// A transaction that came through late: r2 is second, and its entry says third, as r3's does. There are as many entries as places.
	wrong, _ := c.after(c.head, "r2")
	c.add(wrong)
	c.seal("r3")
	if c.complete() {
		t.Error("the entry of r2 is in no chain")
	}
	c.follows()
	// The last bundle itself is another one.
	wrong = c.entries["r3"]
	wrong.Digest = c.entries["r1"].Digest
	c.add(wrong)
	if c.complete() {
		t.Error("the entry of r3 has another bundle")
	}
	c.follows()
}

// What is sealed after something that the index doesn't know is not noted as if the index knew that, too.
func TestWhatIsSealedDoesNotHideWhatIsMissing(t *testing.T) {
	c := newChain(t)
	c.seal("r1")
	right, next := c.after(c.head, "r2")
	wrong := right
	wrong.Digest = c.entries["r1"].Digest // in no chain at this place
	c.add(wrong)
	c.entries["r2"], c.head = right, next
	c.seal("r3")
	if c.complete() {
		t.Error("the entry of r2 has another bundle")
	}
	c.follows()
}
