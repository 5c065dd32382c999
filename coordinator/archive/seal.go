package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"
	"google.golang.org/protobuf/proto"

	"github.com/slipway-ci/slipway/coordinator/blob"
	"github.com/slipway-ci/slipway/coordinator/engine"
	"github.com/slipway-ci/slipway/coordinator/history"
	"github.com/slipway-ci/slipway/coordinator/seal"
	"github.com/slipway-ci/slipway/coordinator/store"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// errBehind: what was read of the store is not so any more.
var errBehind = errors.New("archive: the store has changed meanwhile")

// seal gives the runs their places, stores them, and takes them out of the store; but for bad ones, whose bundles can't be made.
func (a *Archiver) seal(ctx context.Context, runs []*sealing) (bad []item, err error) {
	if len(runs) == 0 {
		return nil, nil
	}
	if a.chains == nil {
		if a.chains, err = engine.Chains(ctx, a.c.Store); err != nil {
			return nil, fmt.Errorf("reading the heads of the chains: %w", err)
		}
	}
	runs, heads, bad := a.place(runs)
	if len(runs) == 0 {
		return bad, nil
	}
	return bad, a.keep(ctx, runs, heads)
}

// place appends the runs to their chains, and returns those that have a place and the heads that they make.
func (a *Archiver) place(runs []*sealing) (placed []*sealing, heads map[string]*statev1.ChainHead, bad []item) {
	// In order of their ends, as far as one batch knows: a chain is read by people, too.
	slices.SortFunc(runs, func(x, y *sealing) int {
		return strings.Compare(fmt.Sprintf("%020d", x.run.Header.GetEndedMs())+x.run.Header.GetId(), fmt.Sprintf("%020d", y.run.Header.GetEndedMs())+y.run.Header.GetId())
	})
	heads = map[string]*statev1.ChainHead{}
	for _, s := range runs {
		project := s.run.Definition.GetProject()
		before := heads[project]
		if before == nil {
			before = a.chains[project].Head
		}
		data, head, err := seal.Append(before, s.bundle)
		if err != nil {
			bad = append(bad, a.postpone(s.item, err))
			continue
		}
		s.data, s.head, heads[project] = data, head, head
		placed = append(placed, s)
	}
	return placed, heads, bad
}

// keep stores bundles that have their places, and takes their runs out of the store.
func (a *Archiver) keep(ctx context.Context, runs []*sealing, heads map[string]*statev1.ChainHead) error {
	if err := a.putBundles(ctx, runs); err != nil {
		return err
	}
	if err := a.point(BeforeIndex); err != nil {
		return err
	}
	entries := make([]history.Entry, len(runs))
	for i, s := range runs {
		entries[i] = history.Entry{Bundle: s.bundle, Digest: s.head.GetBundle(), Size: int64(len(s.data))}
	}
	if err := a.c.Index.Add(ctx, entries); err != nil {
		return err
	}
	if err := errors.Join(a.point(AfterIndex), a.point(BeforeCommit)); err != nil {
		return err
	}
	moves := make([]history.Move, 0, len(heads))
	for project, head := range heads {
		moves = append(moves, history.Move{From: a.chains[project].Head, To: head})
	}
	if err := a.commit(ctx, runs, heads); err != nil {
		return err
	}
	if err := a.point(AfterCommit); err != nil {
		return err
	}
	return a.c.Index.Advance(ctx, moves...)
}

// putBundles makes the bundles durable. A digest that a store gives must be the one that the chain has.
func (a *Archiver) putBundles(ctx context.Context, runs []*sealing) error {
	if err := a.point(BeforeBundle); err != nil {
		return err
	}
	put := func(ctx context.Context, s *sealing) error {
		digest, _, err := a.c.Blobs.Put(ctx, bytes.NewReader(s.data))
		if err == nil && digest != s.head.GetBundle() {
			err = fmt.Errorf("the blob store says %s of what is %s", digest, s.head.GetBundle())
		}
		if err != nil {
			return fmt.Errorf("storing the bundle of run %s: %w", s.run.Header.GetId(), err)
		}
		a.c.Metrics.bytes.Add(float64(len(s.data)))
		return nil
	}
	if many, ok := a.c.Blobs.(blob.Batcher); ok && len(runs) >= batchFrom {
		if err := a.putAll(ctx, many, runs); err != nil {
			return err
		}
		return a.point(AfterBundle)
	}
	if a.c.Parallel == 1 {
		for _, s := range runs {
			if err := put(ctx, s); err != nil {
				return err
			}
		}
		return a.point(AfterBundle)
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(a.c.Parallel)
	for _, s := range runs {
		group.Go(func() error { return put(ctx, s) })
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return a.point(AfterBundle)
}

// batchFrom is how many bundles are worth syncing the whole file system for.
const batchFrom = 8

func (a *Archiver) putAll(ctx context.Context, blobs blob.Batcher, runs []*sealing) error {
	all := make([][]byte, len(runs))
	for i, s := range runs {
		all[i] = s.data
		a.c.Metrics.bytes.Add(float64(len(s.data)))
	}
	digests, err := blobs.PutAll(ctx, all)
	if err != nil {
		return fmt.Errorf("storing bundles: %w", err)
	}
	for i, s := range runs {
		if digests[i] != s.head.GetBundle() {
			return fmt.Errorf("the blob store says %s of what is %s", digests[i], s.head.GetBundle())
		}
	}
	return nil
}

// commit moves the heads and removes the runs, all or nothing for each project.
func (a *Archiver) commit(ctx context.Context, runs []*sealing, heads map[string]*statev1.ChainHead) error {
	id := a.c.NewID()
	projects := make([]string, 0, len(heads))
	branches := map[string]*store.Branch{}
	for project, head := range heads {
		head.TransitionId = id
		value, err := proto.Marshal(head)
		if err != nil {
			return fmt.Errorf("the head of project %s: %w", project, err)
		}
		key := engine.ChainKey(project)
		branches[project] = &store.Branch{Compares: []store.Compare{{Key: key, Revision: a.chains[project].Revision}}, Ops: []store.Op{{Key: key, Value: value}}}
		projects = append(projects, project)
	}
	slices.Sort(projects)
	for _, s := range runs {
		b := branches[s.run.Definition.GetProject()]
		b.Compares = append(b.Compares, s.run.Unchanged())
		b.Ops = append(b.Ops, s.run.Removal()...)
	}
	txn := store.Txn{Fence: a.c.Fence}
	for _, project := range projects {
		txn.Branches = append(txn.Branches, *branches[project])
	}
	res, err := a.c.Store.Commit(ctx, txn)
	if errors.Is(err, store.ErrUnknown) {
		return a.settle(ctx, projects, id, heads, err)
	}
	switch {
	case err != nil:
		return fmt.Errorf("removing sealed runs from the store: %w", err)
	case res.Fenced:
		return ErrFenced
	case slices.Contains(res.Branches, false):
		return errBehind
	}
	for _, project := range projects {
		a.chains[project] = engine.Chain{Head: heads[project], Revision: res.Revision}
	}
	return nil
}

// settle finds out what became of a transaction without an answer. If it did not happen it may still: the next one of this leader compares the
// same heads, so at most one of the two does.
func (a *Archiver) settle(ctx context.Context, projects []string, id string, heads map[string]*statev1.ChainHead, unknown error) error {
	chains, err := engine.Chains(ctx, a.c.Store)
	if err != nil {
		return errors.Join(unknown, err)
	}
	for _, project := range projects {
		if chains[project].Head.GetTransitionId() != id {
			return fmt.Errorf("removing sealed runs from the store: %w", unknown)
		}
	}
	for _, project := range projects {
		a.chains[project] = engine.Chain{Head: heads[project], Revision: chains[project].Revision}
	}
	return nil
}
