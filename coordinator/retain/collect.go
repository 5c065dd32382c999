package retain

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/slipway-ci/slipway/coordinator/blob"
	"github.com/slipway-ci/slipway/coordinator/engine"
	"github.com/slipway-ci/slipway/coordinator/history"
	"github.com/slipway-ci/slipway/coordinator/store"
	"github.com/slipway-ci/slipway/internal/id"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// removeLogs removes what agents sent of runs that are sealed or have expired. Logs that have grown since their run was sealed stay: an agent
// came back late, and nobody else has those bytes.
func (r *Retainer) removeLogs(ctx context.Context) error {
	runs, err := r.c.Logs.Runs()
	if err != nil {
		return err
	}
	complete, err := r.indexComplete(ctx)
	if err != nil || !complete {
		return err // nobody knows what was sealed
	}
	since := r.c.Clock.Now().Add(-r.c.RawLogs)
	young := id.First(since)
	var errs []error
	sealed := map[string]string{} // bundle → run
	for _, run := range runs {
		if err := ctx.Err(); err != nil {
			return err
		}
		if run >= young {
			continue // it was not even created then
		}
		def, err := engine.DefinitionOf(ctx, r.c.Store, run)
		if err != nil {
			return err
		}
		if def != nil {
			continue // in the store
		}
		bundle, err := r.c.History.SealedAs(ctx, run)
		if err != nil {
			return err
		}
		if bundle != "" {
			sealed[bundle] = run
		} else if err := r.c.Logs.Remove(run); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, r.removeSealedLogs(ctx, sealed, since))...)
}

// removeSealedLogs removes the logs of runs that were sealed before a time, given by their bundles.
func (r *Retainer) removeSealedLogs(ctx context.Context, sealed map[string]string, before time.Time) error {
	if len(sealed) == 0 {
		return nil
	}
	// A bundle is stored when its run is sealed. Which of them are old enough is decided before anything goes: a listing is not to be changed.
	var old []string
	err := r.c.Blobs.Each(ctx, func(i blob.Info) error {
		if sealed[i.Digest] != "" && !i.Stored.After(before) {
			old = append(old, i.Digest)
		}
		return nil
	})
	if err != nil {
		return err
	}
	var errs []error
	for _, bundle := range old {
		if err := ctx.Err(); err != nil {
			return err
		}
		// One damaged bundle keeps its own logs only.
		if err := r.removeLogsOf(ctx, sealed[bundle], bundle); err != nil {
			errs = append(errs, fmt.Errorf("run %s: %w", sealed[bundle], err))
		}
	}
	return errors.Join(errs...)
}

// removeLogsOf removes the logs of a sealed run, unless there is more of them than was sealed.
func (r *Retainer) removeLogsOf(ctx context.Context, run, bundle string) error {
	b, _, err := history.ReadBundle(ctx, r.c.Blobs, bundle)
	if err != nil {
		return err
	}
	sizes, err := r.c.Logs.Sizes(run)
	if err != nil || grown(b, sizes) {
		return err
	}
	return r.c.Logs.Remove(run)
}

func (r *Retainer) indexComplete(ctx context.Context) (bool, error) {
	chains, err := engine.Chains(ctx, r.c.Store)
	if err != nil {
		return false, err
	}
	heads := map[string]*statev1.ChainHead{}
	for project, chain := range chains {
		heads[project] = chain.Head
	}
	return r.c.History.Complete(ctx, heads)
}

// grown says whether there is more of a log than was sealed.
func grown(b *statev1.Bundle, sizes map[string]map[uint32]int64) bool {
	sealed := map[string]map[uint32]int64{}
	for _, l := range b.GetLogs().GetLogs() {
		if sealed[l.GetAttemptId()] == nil {
			sealed[l.GetAttemptId()] = map[uint32]int64{}
		}
		sealed[l.GetAttemptId()][l.GetStep()] = l.GetLength()
	}
	for attempt, steps := range sizes {
		for step, size := range steps {
			if size > sealed[attempt][step] {
				return true
			}
		}
	}
	return false
}

// collect marks and sweeps. A blob goes if nothing referred to it now and a grace ago, and it was not put or touched since then.
func (r *Retainer) collect(ctx context.Context) error {
	marked := map[string]bool{}
	complete, err := Mark(ctx, r.c.Store, r.c.Blobs, r.c.History, r.c.Clock.Now().UnixMilli(), func(digest, _ string) { marked[digest] = true })
	if err != nil {
		return err
	}
	if !complete {
		r.c.Log.Warn("the index of finished runs is not complete; no blob is removed")
		return nil
	}
	now := r.c.Clock.Now()
	doomed := map[string]time.Time{}
	var old []blob.Info
	err = r.c.Blobs.Each(ctx, func(i blob.Info) error {
		if marked[i.Digest] {
			return nil
		}
		since, known := r.doomed[i.Digest]
		if !known {
			since = now
		}
		doomed[i.Digest] = since
		// Its own age is by the file system's clock: put or touched lately, it is about to be referred to.
		if now.Sub(since) >= r.c.Grace && now.Sub(i.Stored) >= r.c.Grace {
			old = append(old, i)
		}
		return nil
	})
	if err != nil {
		return err
	}
	r.doomed = doomed
	if err := r.point(BeforeSweep); err != nil {
		return err
	}
	for _, i := range old {
		// Not if it was put or touched since it was listed.
		removed, err := r.c.Blobs.Remove(ctx, i.Digest, i.Stored.Add(time.Nanosecond))
		if err != nil {
			return err
		}
		delete(r.doomed, i.Digest)
		if removed {
			r.c.Metrics.removed.Inc()
			r.c.Metrics.removedBytes.Add(float64(i.Size))
		}
	}
	return nil
}

// Mark calls mark for every blob that something refers to, with what that is. complete: the index has all sealed runs; if not, some are missing.
func Mark(ctx context.Context, s store.Store, blobs blob.Store, h Index, nowMS int64, mark func(digest, by string)) (complete bool, err error) {
	// The store first: what leaves it is in the index before.
	if err := markStore(ctx, s, mark); err != nil {
		return false, err
	}
	chains, err := engine.Chains(ctx, s)
	if err != nil {
		return false, err
	}
	heads := map[string]*statev1.ChainHead{}
	for project, chain := range chains {
		heads[project] = chain.Head
		mark(chain.Head.GetBundle(), "the chain of project "+project)
		for digest := chain.Head.GetTombstones(); digest != ""; {
			mark(digest, "the tombstones of project "+project)
			list, err := ReadTombstones(ctx, blobs, digest)
			if err != nil {
				return false, err
			}
			digest = list.GetPrevious()
		}
	}
	if complete, err = h.Complete(ctx, heads); err != nil || !complete {
		return false, err
	}
	return true, h.EachReference(ctx, nowMS, func(digest string) { mark(digest, "a finished run") })
}

// Index is what Mark asks of a history.History.
type Index interface {
	Complete(ctx context.Context, heads map[string]*statev1.ChainHead) (bool, error)
	EachReference(ctx context.Context, nowMS int64, f func(digest string)) error
}

func markStore(ctx context.Context, s store.Store, mark func(digest, by string)) error {
	return engine.EachRun(ctx, s, func(h *statev1.RunHeader) error {
		def, err := engine.DefinitionOf(ctx, s, h.GetId())
		if err != nil {
			return err
		}
		by := "run " + h.GetId()
		for _, digest := range engine.BlobsOf(h, def) {
			mark(digest, by)
		}
		return nil
	})
}
