package retain

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/slipway-ci/slipway/coordinator/blob"
	"github.com/slipway-ci/slipway/coordinator/engine"
	"github.com/slipway-ci/slipway/coordinator/history"
	"github.com/slipway-ci/slipway/coordinator/seal"
	"github.com/slipway-ci/slipway/coordinator/store"
	"github.com/slipway-ci/slipway/internal/clock"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// ErrFenced: another coordinator leads.
var ErrFenced = errors.New("retain: no longer the leader")

// Logs are the logs as agents sent them. Implemented by logs.Store.
type Logs interface {
	// Runs are the ids of the runs that have logs.
	Runs() ([]string, error)
	// Sizes of a run's logs, by attempt and step.
	Sizes(run string) (map[string]map[uint32]int64, error)
	Remove(run string) error
}

// Config configures a Retainer.
type Config struct {
	Store store.Store
	// Fence of the leader's term, in every transaction.
	Fence   []store.Compare
	Blobs   blob.Collector
	Logs    Logs
	History *history.History
	Clock   clock.Clock
	NewID   func() string
	Log     *slog.Logger
	// Keep is the policy of a project.
	Keep func(project string) Keep
	// Quota in bytes of everything that is stored beside the store; 0 is none. Past it finished runs expire, the oldest first.
	Quota int64
	// Grace is how long a blob that nothing refers to is left alone; 0 is an hour.
	Grace time.Duration
	// RawLogs is how long after its sealing the logs of a run stay as its agents sent them; 0 is an hour.
	RawLogs time.Duration
	// Every is the time between two looks; 0 is 10 minutes.
	Every time.Duration
	// Metrics may be nil.
	Metrics *Metrics
	// Failpoint, if set, is asked at every Point, for tests. An error ends the step there, as a crash would.
	Failpoint func(Point) error
}

// Point is a place where a test can fail a Retainer.
type Point string

// The points, in order.
const (
	BeforeTombstones Point = "before-tombstones"
	AfterTombstones  Point = "after-tombstones"
	AfterCommit      Point = "after-commit"
	AfterForget      Point = "after-forget"
	BeforeSweep      Point = "before-sweep"
)

// Points are all of them.
var Points = []Point{BeforeTombstones, AfterTombstones, AfterCommit, AfterForget, BeforeSweep}

// Retainer applies a policy. For one goroutine.
type Retainer struct {
	c Config
	// doomed are blobs that nothing referred to, since when.
	doomed map[string]time.Time
}

// New returns a Retainer.
func New(c Config) *Retainer {
	for _, d := range []struct {
		v *time.Duration
		d time.Duration
	}{{&c.Grace, time.Hour}, {&c.RawLogs, time.Hour}, {&c.Every, 10 * time.Minute}} {
		if *d.v <= 0 {
			*d.v = d.d
		}
	}
	if c.Metrics == nil {
		c.Metrics = NewMetrics(nil)
	}
	c.Metrics.quota.Set(float64(c.Quota))
	return &Retainer{c: c, doomed: map[string]time.Time{}}
}

// Run applies the policy until ctx ends; ErrFenced if another coordinator leads.
func (r *Retainer) Run(ctx context.Context) error {
	for {
		wait := make(chan struct{})
		stop := r.c.Clock.AfterFunc(r.c.Every, func() { close(wait) })
		select {
		case <-ctx.Done():
			stop()
			return nil
		case <-wait:
		}
		err := r.Step(ctx)
		switch {
		case errors.Is(err, ErrFenced):
			return err
		case err != nil && ctx.Err() == nil:
			r.c.Log.Error("what has expired can't be removed; trying again later", "error", err)
		}
	}
}

// Step looks once: it lets runs expire, and removes logs and blobs that nothing needs. What fails does not keep the rest from being done.
func (r *Retainer) Step(ctx context.Context) error {
	var errs []error
	for _, part := range []struct {
		what string
		do   func(context.Context) error
	}{{"letting finished runs expire", r.expire}, {"removing the logs of sealed runs", r.removeLogs}, {"collecting blobs", r.collect}} {
		err := part.do(ctx)
		if err == nil {
			continue
		}
		errs = append(errs, fmt.Errorf("%s: %w", part.what, err))
		if over(ctx, err) {
			break
		}
	}
	return errors.Join(errs...)
}

// over says whether nothing more may be done after an error.
func over(ctx context.Context, err error) bool {
	var f failure
	return ctx.Err() != nil || errors.Is(err, ErrFenced) || errors.As(err, &f)
}

// failure is what a Failpoint says.
type failure struct{ error }

func (f failure) Unwrap() error { return f.error }

// expire decides, and buries what has expired.
func (r *Retainer) expire(ctx context.Context) error {
	chains, err := engine.Chains(ctx, r.c.Store)
	if err != nil {
		return err
	}
	rows, err := r.c.History.Rows(ctx)
	if err != nil {
		return err
	}
	now := r.c.Clock.Now().UnixMilli()
	refs, err := r.c.History.References(ctx, now)
	if err != nil {
		return err
	}
	// Entries that are not in a chain (yet) are none of the policy's.
	byProject := map[string][]history.Row{}
	var chained []history.Row
	left := map[string]uint64{}
	for _, row := range rows {
		head := chains[row.Project].Head
		switch {
		case row.Seq <= head.GetExpired():
			left[row.Project] = head.GetExpired()
		case row.Seq <= head.GetSeq():
			byProject[row.Project] = append(byProject[row.Project], row)
			chained = append(chained, row)
		}
	}
	// What has expired and could not be forgotten then would keep its blobs, and count against the quota.
	for project, upTo := range left {
		if err := r.c.History.Forget(ctx, project, upTo); err != nil {
			return err
		}
	}
	expired := map[string]Expiry{}
	for project, of := range byProject {
		if e := Plan(of, refs, r.c.Keep(project), now); e.UpTo > 0 {
			expired[project] = e
		}
	}
	var errs []error
	switch excess, err := r.excess(ctx); {
	case err != nil:
		errs = append(errs, fmt.Errorf("measuring what is stored: %w", err))
	case excess > 0:
		Shrink(chained, refs, expired, excess)
	}
	for project, e := range expired {
		err := r.bury(ctx, project, byProject[project], e)
		if err == nil {
			continue
		}
		errs = append(errs, fmt.Errorf("project %s: %w", project, err))
		if over(ctx, err) {
			break
		}
	}
	return errors.Join(errs...)
}

const (
	// buryBatch is how many runs expire in one transaction.
	buryBatch = 1000
	// mergeBelow is how many tombstones a list may have to be written again with more.
	mergeBelow = 5000
)

// bury expires runs of a project, given oldest first, up to a place.
func (r *Retainer) bury(ctx context.Context, project string, rows []history.Row, e Expiry) error {
	for len(rows) > 0 && rows[0].Seq <= e.UpTo {
		n := 0
		for n < len(rows) && n < buryBatch && rows[n].Seq <= e.UpTo {
			n++
		}
		if err := r.buryBatch(ctx, project, rows[:n], e.Reason); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

func (r *Retainer) buryBatch(ctx context.Context, project string, rows []history.Row, reason string) error {
	if err := r.point(BeforeTombstones); err != nil {
		return err
	}
	chains, err := engine.Chains(ctx, r.c.Store)
	if err != nil {
		return err
	}
	chain := chains[project]
	list := &statev1.Tombstones{Project: project}
	if last := chain.Head.GetTombstones(); last != "" {
		if list, err = ReadTombstones(ctx, r.c.Blobs, last); err != nil {
			return err
		}
		if len(list.GetTombstones()) >= mergeBelow {
			list = &statev1.Tombstones{Project: project, Previous: last}
		}
	}
	tombstones, broken := r.tombstones(ctx, chain, rows, reason)
	if rows = rows[:len(tombstones)]; len(rows) == 0 {
		return broken
	}
	list.Tombstones = append(list.Tombstones, tombstones...)
	data, err := seal.EncodeTombstones(list)
	if err != nil {
		return err
	}
	digest, _, err := r.c.Blobs.Put(ctx, bytes.NewReader(data))
	if err != nil {
		return err
	}
	if err := r.point(AfterTombstones); err != nil {
		return err
	}
	upTo := rows[len(rows)-1].Seq
	if err := r.moveHead(ctx, chain, upTo, digest); err != nil {
		return err
	}
	if err := r.point(AfterCommit); err != nil {
		return err
	}
	if err := r.c.History.Forget(ctx, project, upTo); err != nil {
		return err
	}
	r.c.Metrics.expired.WithLabelValues(reason).Add(float64(len(rows)))
	r.c.Log.Info("finished runs have expired", "project", project, "runs", len(rows), "rule", reason)
	return errors.Join(broken, r.point(AfterForget))
}

// tombstones of runs, oldest first, up to the one that can't have one, and why.
func (r *Retainer) tombstones(ctx context.Context, chain engine.Chain, rows []history.Row, reason string) (out []*statev1.Tombstone, err error) {
	now := r.c.Clock.Now().UnixMilli()
	for i, row := range rows {
		if want := chain.Head.GetExpired() + 1 + uint64(i); row.Seq != want {
			return out, fmt.Errorf("run %s can't expire before number %d of its chain, which the index lacks (see `slipway admin check`)", row.Run, want)
		}
		b, _, err := history.ReadBundle(ctx, r.c.Blobs, row.Bundle)
		if err != nil {
			return out, fmt.Errorf("run %s can't expire, nor what came after it; if its bundle is damaged, restore it from a backup: %w", row.Run, err)
		}
		out = append(out, seal.Bury(b, row.Bundle, reason, now))
	}
	return out, nil
}

// moveHead says how far a chain has expired. If a run is sealed at the same moment one of the two loses, and is done again later.
func (r *Retainer) moveHead(ctx context.Context, chain engine.Chain, upTo uint64, tombstones string) error {
	head := proto.CloneOf(chain.Head)
	head.Expired, head.Tombstones, head.TransitionId = upTo, tombstones, r.c.NewID()
	value, err := proto.Marshal(head)
	if err != nil {
		return err
	}
	key := engine.ChainKey(head.GetProject())
	res, err := r.c.Store.Commit(ctx, store.Txn{Fence: r.c.Fence, Branches: []store.Branch{{Compares: []store.Compare{{Key: key, Revision: chain.Revision}}, Ops: []store.Op{{Key: key, Value: value}}}}})
	switch {
	case err != nil:
		return err
	case res.Fenced:
		return ErrFenced
	case !res.Branches[0]:
		return errors.New("runs are being sealed; the rest expires later")
	}
	return nil
}

// ReadTombstones reads a list of tombstones.
func ReadTombstones(ctx context.Context, blobs blob.Store, digest string) (*statev1.Tombstones, error) {
	data, err := blob.ReadAll(ctx, blobs, digest, history.MaxBundle)
	if err != nil {
		return nil, fmt.Errorf("reading tombstones: %w", err)
	}
	list, err := seal.DecodeTombstones(data)
	if err != nil {
		return nil, fmt.Errorf("reading tombstones %s: %w", digest, err)
	}
	return list, nil
}

func (r *Retainer) point(p Point) error {
	if r.c.Failpoint == nil {
		return nil
	}
	if err := r.c.Failpoint(p); err != nil {
		return failure{err}
	}
	return nil
}
