// Package maintain keeps the store's database small: it drops old revisions, gives free pages back when that is worth the pause, and says that
// the store is full before it says so itself, so that new runs are refused and those that live go on.
package maintain

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/slipway-ci/slipway/internal/clock"
	"github.com/slipway-ci/slipway/internal/rpcerr"
)

// Status of a database. Sizes in bytes.
type Status struct {
	// Size is that of the file, InUse what of it holds something.
	Size, InUse int64
	// Quota is the size at which the store refuses writes.
	Quota    int64
	Revision int64
}

// Database is what is maintained. Implemented by etcdstore.Database.
type Database interface {
	Status(ctx context.Context) (Status, error)
	// Compact forgets what keys were before a revision.
	Compact(ctx context.Context, revision int64) error
	// Defragment gives free pages back. Nothing is read or written meanwhile.
	Defragment(ctx context.Context) error
}

const (
	// Every is the time between two looks.
	Every = 10 * time.Second
	// window is how many revisions are kept at the least, for listings that are being read.
	window = 1000
	// defragAbove: a smaller file is left as it is. Half of it must be free.
	defragAbove = 128 << 20
	// quietRate is how many revisions a second are no load.
	quietRate = 20
	// defragPause is the least time between two defragmentations.
	defragPause = 10 * time.Minute
	// fullPercent of the quota in use refuses new runs; a file of nearFull percent is defragmented under load, too.
	fullPercent, nearFull = 80, 90
	callTimeout           = time.Minute
)

// Keeper maintains a database within a leader's term. Full is safe for concurrent use, the rest for one goroutine.
type Keeper struct {
	db      Database
	clock   clock.Clock
	log     *slog.Logger
	metrics *Metrics

	full      atomic.Pointer[Status]
	last      Status
	compacted int64
	defragged time.Time
}

// New returns a Keeper; metrics may be nil.
func New(db Database, c clock.Clock, log *slog.Logger, m *Metrics) *Keeper {
	if m == nil {
		m = NewMetrics(nil)
	}
	return &Keeper{db: db, clock: c, log: log, metrics: m}
}

// Full is the answer to what would add to the store; nil while there is room.
func (k *Keeper) Full() error {
	s := k.full.Load()
	if s == nil {
		return nil
	}
	return rpcerr.BusyFor(time.Minute, "the coordinator's store is nearly full (%d of %d MiB in use), so that it takes no new runs: those that live go on, and finished ones make room; an operator can raise the store's quota", s.InUse>>20, s.Quota>>20)
}

// Run looks after the database until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	for {
		if err := k.Step(ctx); err != nil && ctx.Err() == nil {
			k.log.Warn("the store can't be maintained now; trying again", "error", err)
		}
		wait := make(chan struct{})
		stop := k.clock.AfterFunc(Every, func() { close(wait) })
		select {
		case <-ctx.Done():
			stop()
			return
		case <-wait:
		}
	}
}

// Step looks once.
func (k *Keeper) Step(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	s, err := k.db.Status(ctx)
	if err != nil {
		return err
	}
	before := k.last
	k.last = s
	k.judge(s)
	if to := min(before.Revision, s.Revision-window); to > k.compacted {
		if err := k.db.Compact(ctx, to); err != nil {
			return err
		}
		k.compacted = to
		k.metrics.compactions.Inc()
	}
	now := k.clock.Now()
	if !worthDefrag(before, s) || now.Sub(k.defragged) < defragPause {
		return nil
	}
	k.defragged = now
	if err := k.db.Defragment(ctx); err != nil {
		return err
	}
	k.metrics.defrags.Inc()
	k.log.Info("the store's file was defragmented", "size", s.Size, "in_use", s.InUse, "took", k.clock.Now().Sub(now))
	return nil
}

// worthDefrag decides from two looks, Every apart.
func worthDefrag(before, now Status) bool {
	if now.Size < defragAbove || now.InUse > now.Size/2 {
		return false
	}
	quiet := before.Revision > 0 && now.Revision-before.Revision < quietRate*int64(Every/time.Second)
	return quiet || now.Size > now.Quota/100*nearFull
}

func (k *Keeper) judge(s Status) {
	k.metrics.size.Set(float64(s.Size))
	k.metrics.inUse.Set(float64(s.InUse))
	k.metrics.quota.Set(float64(s.Quota))
	was := k.full.Load() != nil
	if full := s.InUse > s.Quota/100*fullPercent; full {
		if !was {
			k.log.Error("the store is nearly full; new runs are refused", "in_use", s.InUse, "quota", s.Quota)
		}
		k.full.Store(&s)
		k.metrics.full.Set(1)
		return
	}
	if was {
		k.log.Info("the store has room again; new runs are taken", "in_use", s.InUse, "quota", s.Quota)
	}
	k.full.Store(nil)
	k.metrics.full.Set(0)
}

// Metrics of the store's database; docs/metrics.md says what they mean.
type Metrics struct {
	size, inUse, quota, full prometheus.Gauge
	compactions, defrags     prometheus.Counter
}

// NewMetrics registers the metrics, if r is not nil.
func NewMetrics(r prometheus.Registerer) *Metrics {
	m := &Metrics{
		size:        prometheus.NewGauge(prometheus.GaugeOpts{Name: "slipway_store_size_bytes", Help: "Size of the store's file."}),
		inUse:       prometheus.NewGauge(prometheus.GaugeOpts{Name: "slipway_store_in_use_bytes", Help: "What of the store's file holds something."}),
		quota:       prometheus.NewGauge(prometheus.GaugeOpts{Name: "slipway_store_quota_bytes", Help: "Size at which the store refuses writes."}),
		full:        prometheus.NewGauge(prometheus.GaugeOpts{Name: "slipway_store_full", Help: "1 while new runs are refused because more than 80 % of the quota is in use."}),
		compactions: prometheus.NewCounter(prometheus.CounterOpts{Name: "slipway_store_compactions_total", Help: "Times that old revisions were dropped."}),
		defrags:     prometheus.NewCounter(prometheus.CounterOpts{Name: "slipway_store_defragmentations_total", Help: "Times that free pages were given back."}),
	}
	if r != nil {
		r.MustRegister(m.size, m.inUse, m.quota, m.full, m.compactions, m.defrags)
	}
	return m
}
