package server

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"

	"github.com/slipway-ci/slipway/coordinator/archive"
	"github.com/slipway-ci/slipway/coordinator/engine"
	"github.com/slipway-ci/slipway/coordinator/history"
	"github.com/slipway-ci/slipway/coordinator/leader"
	"github.com/slipway-ci/slipway/coordinator/maintain"
	"github.com/slipway-ci/slipway/coordinator/retain"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// HistoryFile in the data directory is the index of finished runs; it may be deleted while no coordinator runs, and is made again.
const HistoryFile = "history.db"

// externalBatch of runs that are sealed at once keeps a transaction within the 128 operations of an etcd of others.
const externalBatch = 20

// keepMetrics are those of what happens to finished runs and to the store.
type keepMetrics struct {
	archive  *archive.Metrics
	retain   *retain.Metrics
	maintain *maintain.Metrics
}

func (s *Server) registerKeepMetrics() {
	s.keeping = keepMetrics{archive: archive.NewMetrics(s.registry), retain: retain.NewMetrics(s.registry), maintain: maintain.NewMetrics(s.registry)}
}

func (s *Server) openHistory(ctx context.Context) (err error) {
	s.history, err = history.Open(ctx, filepath.Join(s.conf.DataDir, HistoryFile), s.blobs, s.log)
	return err
}

// keeper is what a term does beside running jobs: it seals finished runs, lets them expire, and keeps the store small.
type keeper struct {
	s        *Server
	archiver *archive.Archiver
	retainer *retain.Retainer
	store    *maintain.Keeper // nil without a database of its own
	requests maintain.Requests
	group    sync.WaitGroup
	stop     context.CancelFunc
}

// newKeeper brings the index to where the chains are, and finds what a leader before this one left.
func (s *Server) newKeeper(ctx context.Context, be *backend, term leader.Term) (*keeper, error) {
	chains, err := engine.Chains(ctx, be.store)
	if err != nil {
		return nil, fmt.Errorf("reading the chains of finished runs: %w", err)
	}
	heads := map[string]*statev1.ChainHead{}
	for project, chain := range chains {
		heads[project] = chain.Head
	}
	added, err := s.history.Follow(ctx, heads)
	if err != nil {
		// What can be read is found; the rest is the operator's.
		s.log.Error("the history of finished runs is damaged; see `slipway admin check`", "error", err)
	}
	if added > 0 {
		s.log.Info("finished runs were added to the index", "runs", added)
	}
	r := s.conf.Retention
	k := &keeper{s: s, requests: maintain.Requests{Store: be.store, Each: engine.EachRequest, Fence: term.Fence(), Clock: s.clock, Log: s.log}}
	conf := archive.Config{Store: be.store, Fence: term.Fence(), Blobs: s.blobs, Logs: s.logs, Index: s.history, Clock: s.clock, NewID: s.ids.New, Log: s.log,
		Delay: r.SealAfter.Std(), LogPatience: r.LogPatience.Std(), Metrics: s.keeping.archive}
	if be.external {
		conf.Batch = externalBatch
	}
	k.archiver = archive.New(conf)
	k.retainer = retain.New(retain.Config{Store: be.store, Fence: term.Fence(), Blobs: s.blobs, Logs: s.logs, History: s.history, Clock: s.clock, NewID: s.ids.New, Log: s.log,
		Keep: func(project string) retain.Keep {
			keep := s.conf.KeepOf(project)
			return retain.Keep{Days: keep.Days, Runs: keep.Runs, Bytes: keep.Bytes}
		}, Quota: r.DiskQuota, Grace: r.BlobGrace.Std(), Every: r.Every.Std(), Metrics: s.keeping.retain})
	if be.database != nil {
		k.store = maintain.New(be.database, s.clock, s.log, s.keeping.maintain)
	}
	return k, k.archiver.Load(ctx)
}

// admit says whether new runs are taken.
func (k *keeper) admit() error {
	if k.store == nil {
		return nil
	}
	return k.store.Full()
}

// start begins the work; close ends it.
func (k *keeper) start(ctx context.Context) {
	ctx, k.stop = context.WithCancel(ctx)
	k.group.Go(func() { k.ended("sealing finished runs", k.archiver.Run(ctx)) })
	k.group.Go(func() { k.ended("letting finished runs expire", k.retainer.Run(ctx)) })
	k.group.Go(func() { k.requests.Run(ctx) })
	if k.store != nil {
		k.group.Go(func() { k.store.Run(ctx) })
	}
}

func (k *keeper) ended(what string, err error) {
	if err != nil {
		k.s.log.Warn("another coordinator leads now", "ended", what, "error", err)
	}
}

func (k *keeper) close() {
	k.stop()
	k.group.Wait()
}
