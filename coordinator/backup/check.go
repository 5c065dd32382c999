package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/slipway-ci/slipway/coordinator/blob"
	"github.com/slipway-ci/slipway/coordinator/engine"
	"github.com/slipway-ci/slipway/coordinator/history"
	"github.com/slipway-ci/slipway/coordinator/retain"
	"github.com/slipway-ci/slipway/coordinator/seal"
	"github.com/slipway-ci/slipway/coordinator/store"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// Finding is one discrepancy.
type Finding struct {
	// Where it is: chain, bundle, blob, log, index or store.
	Where string `json:"where"`
	What  string `json:"what"`
	// Do is what helps.
	Do string `json:"do"`
}

// Report is what a check found.
type Report struct {
	Projects int `json:"projects"`
	// Bundles and Tombstones that the chains have.
	Bundles    int `json:"bundles"`
	Tombstones int `json:"tombstones"`
	Logs       int `json:"logs"`
	Blobs      int `json:"blobs"`
	// Unreferenced blobs are collected after a while; they are no discrepancy.
	Unreferenced int       `json:"unreferenced"`
	LiveRuns     int       `json:"live_runs"`
	Findings     []Finding `json:"findings"`
}

// Target is what is checked.
type Target struct {
	Store store.Store
	Blobs blob.Collector
	// Index may be nil: there is none, and none is checked.
	Index *history.History
	Now   time.Time
	// Quick does not read the content of blobs and logs, only that of bundles.
	Quick bool
}

// DoRebuild is what helps a damaged index.
const DoRebuild = "stop the coordinator and run `slipway admin check --rebuild-index`"

const (
	doRestore = "restore the blob from a backup into the blob store (blobs/sha256 in the data directory)"
	doChain   = "somebody changed what must not change: compare with a backup, and restore from one that is whole"
)

type checker struct {
	t      Target
	report Report
	// sealed are the runs that the chains have → the digest of the bundle.
	sealed map[string]string
	marked map[string]string
	sound  map[string]bool // blobs whose content was read and is right
}

// Check holds the chains, bundles, blobs, the index and the store against each other. The error is about what kept it from checking.
func Check(ctx context.Context, t Target) (Report, error) {
	c := &checker{t: t, sealed: map[string]string{}, marked: map[string]string{}, sound: map[string]bool{}}
	chains, err := engine.Chains(ctx, t.Store)
	if err != nil {
		return c.report, fmt.Errorf("reading the heads of the chains: %w", err)
	}
	c.report.Projects = len(chains)
	for _, project := range slices.Sorted(maps.Keys(chains)) {
		if err := c.chain(ctx, chains[project].Head); err != nil {
			return c.report, err
		}
	}
	if err := c.live(ctx); err != nil {
		return c.report, err
	}
	if err := c.blobs(ctx); err != nil {
		return c.report, err
	}
	if t.Index != nil {
		c.index(ctx, chains)
	}
	return c.report, nil
}

func (c *checker) find(where, do, format string, args ...any) {
	c.report.Findings = append(c.report.Findings, Finding{Where: where, What: fmt.Sprintf(format, args...), Do: do})
}

// damaged says whether an error is about what is stored, and not about reading it.
func damaged(err error) bool {
	return errors.Is(err, blob.ErrNotFound) || errors.Is(err, blob.ErrCorrupt) || errors.Is(err, blob.ErrDigest) || errors.Is(err, seal.ErrFormat) || errors.Is(err, seal.ErrChain)
}

// chain follows one chain to its beginning.
func (c *checker) chain(ctx context.Context, head *statev1.ChainHead) error {
	w := seal.Walk(head)
	for {
		seq, digest, done := w.Next()
		if done {
			return nil
		}
		if seq <= head.GetExpired() {
			return c.tombstones(ctx, head, w)
		}
		b, _, err := history.ReadBundle(ctx, c.t.Blobs, digest)
		if err == nil {
			err = w.Bundle(b, digest)
		}
		if err != nil && !damaged(err) {
			return err
		}
		if err != nil {
			if c.expiredSince(ctx, head.GetProject(), seq) {
				return nil
			}
			do := doRestore
			if errors.Is(err, seal.ErrChain) {
				do = doChain
			}
			c.find("chain", do, "project %s, number %d of %d: %v; what is before it can't be followed", head.GetProject(), seq, head.GetSeq(), err)
			return nil
		}
		c.report.Bundles++
		c.marked[digest], c.sound[digest] = "the chain of project "+head.GetProject(), true
		c.sealed[b.GetHeader().GetId()] = digest
		if err := c.bundle(ctx, b); err != nil {
			return err
		}
	}
}

// expiredSince says whether a bundle is gone because it expired while this looked.
func (c *checker) expiredSince(ctx context.Context, project string, seq uint64) bool {
	chains, err := engine.Chains(ctx, c.t.Store)
	return err == nil && chains[project].Head.GetExpired() >= seq
}

func (c *checker) tombstones(ctx context.Context, head *statev1.ChainHead, w *seal.Walker) error {
	for digest := head.GetTombstones(); ; {
		if seq, _, done := w.Next(); done {
			return nil
		} else if digest == "" {
			c.find("chain", doChain, "project %s: number %d has expired and has no tombstone", head.GetProject(), seq)
			return nil
		}
		list, err := retain.ReadTombstones(ctx, c.t.Blobs, digest)
		if err != nil && !damaged(err) {
			return err
		}
		if err != nil {
			c.find("chain", doRestore, "project %s: %v; what is before it can't be followed", head.GetProject(), err)
			return nil
		}
		c.marked[digest], c.sound[digest] = "the tombstones of project "+head.GetProject(), true
		for _, tomb := range slices.Backward(list.GetTombstones()) {
			if err := w.Tombstone(tomb); err != nil {
				c.find("chain", doChain, "project %s: %v", head.GetProject(), err)
				return nil
			}
			c.report.Tombstones++
		}
		digest = list.GetPrevious()
	}
}

// bundle checks what a sealed run needs.
func (c *checker) bundle(ctx context.Context, b *statev1.Bundle) error {
	run := b.GetHeader().GetId()
	now := c.t.Now.UnixMilli()
	for _, ref := range history.References(b) {
		if ref.UntilMS == 0 || ref.UntilMS > now {
			c.marked[ref.Digest] = "finished run " + run
		}
	}
	if seal.Digest(b.GetPlan()) != b.GetDefinition().GetPlanDigest() {
		c.find("bundle", doChain, "run %s: its plan is not the one that its definition names", run)
	}
	for _, l := range b.GetLogs().GetLogs() {
		c.report.Logs++
		if c.t.Quick {
			continue
		}
		err := c.log(ctx, b.GetLogs(), l)
		if err != nil && !damaged(err) {
			return err
		}
		if err != nil {
			c.find("log", doRestore, "run %s: %v", run, err)
		}
	}
	return nil
}

func (c *checker) log(ctx context.Context, pack *statev1.LogPack, l *statev1.SealedLog) error {
	r, err := history.OpenLog(ctx, c.t.Blobs, pack, l)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, r)
	return errors.Join(err, r.Close())
}

// live checks the runs in the store.
func (c *checker) live(ctx context.Context) error {
	return engine.EachRun(ctx, c.t.Store, func(h *statev1.RunHeader) error {
		def, err := engine.DefinitionOf(ctx, c.t.Store, h.GetId())
		if err != nil {
			return err
		}
		if def == nil {
			// It may have been sealed since.
			if run, err := engine.ReadEnded(ctx, c.t.Store, h.GetId()); err != nil || run == nil {
				return err
			}
			c.find("store", "restore the store from a backup", "run %s has no definition", h.GetId())
			return nil
		}
		c.report.LiveRuns++
		for _, digest := range engine.BlobsOf(h, def) {
			c.marked[digest] = "run " + h.GetId()
		}
		if digest, ok := c.sealed[h.GetId()]; ok {
			c.find("store", doChain, "run %s is in the store, and sealed as %s", h.GetId(), digest)
		}
		return nil
	})
}

// blobs holds what is there against its digests and against what is needed.
func (c *checker) blobs(ctx context.Context) error {
	missing := maps.Clone(c.marked)
	err := c.t.Blobs.Each(ctx, func(i blob.Info) error {
		c.report.Blobs++
		by, needed := c.marked[i.Digest]
		delete(missing, i.Digest)
		if !needed {
			c.report.Unreferenced++
			by = "nothing"
		}
		if c.t.Quick || c.sound[i.Digest] {
			return nil
		}
		err := c.read(ctx, i.Digest)
		if err != nil && !damaged(err) {
			return err
		}
		if errors.Is(err, blob.ErrCorrupt) || errors.Is(err, blob.ErrDigest) {
			c.find("blob", doRestore, "%s has other bytes than its name says; it is needed by %s", i.Digest, by)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, digest := range slices.Sorted(maps.Keys(missing)) {
		c.find("blob", doRestore, "%s is missing; it is needed by %s", digest, missing[digest])
	}
	return nil
}

func (c *checker) read(ctx context.Context, digest string) error {
	r, _, err := c.t.Blobs.Open(ctx, digest)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, r)
	return errors.Join(err, r.Close())
}

// index holds the index against the bundles.
func (c *checker) index(ctx context.Context, chains map[string]engine.Chain) {
	rows, err := c.t.Index.Rows(ctx)
	if err != nil {
		c.find("index", DoRebuild, "it can't be read: %v", err)
		return
	}
	there := map[string]bool{}
	for _, row := range rows {
		there[row.Run] = true
		head := chains[row.Project].Head
		want, sealed := c.sealed[row.Run]
		switch {
		case row.Seq <= head.GetExpired() || row.Seq > head.GetSeq():
			// Being removed, or not sealed to the end: it is not looked at.
		case !sealed:
			if len(c.report.Findings) == 0 {
				c.find("index", DoRebuild, "it has run %s, which no chain has", row.Run)
			}
		case want != row.Bundle:
			c.find("index", DoRebuild, "it says that run %s is %s, and the chain that it is %s", row.Run, row.Bundle, want)
		}
	}
	for _, run := range slices.Sorted(maps.Keys(c.sealed)) {
		if !there[run] {
			c.find("index", DoRebuild, "it does not have run %s", run)
		}
	}
}
