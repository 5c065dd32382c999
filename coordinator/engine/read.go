package engine

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/slipway-ci/slipway/coordinator/store"
	"github.com/slipway-ci/slipway/internal/id"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

const (
	// minPrefix is how much of a run's id one must say.
	minPrefix = 6
	// defaultRuns is how many a listing has whose limit is 0.
	defaultRuns = 20
	// MaxRuns is how many a listing has at the most.
	MaxRuns     = 1000
	readTimeout = 10 * time.Second
)

// background is a context for reads that no caller waits for; it ends with the engine.
func (e *Engine) background() (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(context.Background(), readTimeout)
	go func() {
		select {
		case <-e.stopped:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}

// Run implements Control.
func (e *Engine) Run(ctx context.Context, name string) (*apiv1.Run, error) {
	runID, err := e.resolveID(ctx, name)
	if err != nil {
		return nil, err
	}
	live, err := e.liveViews(ctx, []string{runID}, true)
	if err != nil {
		return nil, err
	}
	if v := live[runID]; v != nil {
		return v, nil
	}
	return e.stored(ctx, runID, true)
}

// liveViews returns the views of those runs that are live.
func (e *Engine) liveViews(ctx context.Context, ids []string, steps bool) (map[string]*apiv1.Run, error) {
	out := map[string]*apiv1.Run{}
	err := e.ask(ctx, func(reply func(error)) {
		views := make(map[string]*apiv1.Run, len(ids))
		for _, runID := range ids {
			if r := e.runs[runID]; r != nil {
				views[runID] = r.view(steps)
			}
		}
		out = views
		reply(nil)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// stored reads a run that is not live.
func (e *Engine) stored(ctx context.Context, runID string, steps bool) (*apiv1.Run, error) {
	rr, err := readRun(ctx, e.c.Store, runID)
	if err != nil {
		return nil, err
	}
	if rr == nil {
		return e.sealed(ctx, runID, steps)
	}
	return e.viewStored(ctx, rr, steps), nil
}

// viewStored shows a run from its records alone.
func (e *Engine) viewStored(ctx context.Context, rr *storedRun, steps bool) *apiv1.Run {
	plan, err := e.c.Plans.LoadPlan(ctx, rr.def.GetPlanDigest())
	var r *run
	if err == nil {
		r, err = newRun(rr.def, plan, rr.header.GetNumber())
	}
	if err != nil {
		e.c.Log.Warn("a run's plan can't be read; it is shown without needs", "run", rr.header.GetId(), "error", err)
		v := viewHeader(rr.header, rr.def)
		for _, j := range rr.jobs {
			v.Jobs = append(v.Jobs, viewJob(j.rec, nil, steps))
		}
		return v
	}
	r.header = rr.header
	for _, j := range rr.jobs {
		r.jobs[j.rec.GetId()] = &jobEntry{rec: j.rec, rev: j.rev}
	}
	r.sortOrder()
	return r.view(steps)
}

type storedRec struct {
	rec *statev1.JobRecord
	rev int64
}

type storedRun struct {
	header    *statev1.RunHeader
	headerRev int64
	def       *statev1.RunDefinition
	jobs      []storedRec
}

// readRun reads a run's records; nil if there is none. The definition is read last: a run is sealed and gone from one read to the next, and if
// that one is there still, so was all that was read before.
func readRun(ctx context.Context, s store.Store, runID string) (*storedRun, error) {
	kv, found, err := s.Get(ctx, runKey(runID))
	if err != nil || !found {
		return nil, storeError(err)
	}
	jobs, _, err := s.Range(ctx, jobsPrefix(runID), store.PrefixEnd(jobsPrefix(runID)), 0)
	if err != nil {
		return nil, storeError(err)
	}
	def, found, err := s.Get(ctx, defKey(runID))
	if err != nil || !found {
		return nil, storeError(err)
	}
	return assembleRun(kv, jobs, def)
}

func assembleRun(header store.KV, jobs []store.KV, def store.KV) (*storedRun, error) {
	out := &storedRun{header: &statev1.RunHeader{}, headerRev: header.ModRevision, def: &statev1.RunDefinition{}}
	if err := decode(header, out.header); err != nil {
		return nil, err
	}
	for _, kv := range jobs {
		rec := &statev1.JobRecord{}
		if err := decode(kv, rec); err != nil {
			return nil, err
		}
		out.jobs = append(out.jobs, storedRec{rec: rec, rev: kv.ModRevision})
	}
	return out, decode(def, out.def)
}

func decode(kv store.KV, m proto.Message) error {
	if err := proto.Unmarshal(kv.Value, m); err != nil {
		return rpcerr.New(rpcerr.Internal, "the record %s can't be read: %v", kv.Key, err)
	}
	return nil
}

func storeError(err error) error {
	if err == nil {
		return nil
	}
	return rpcerr.New(rpcerr.StoreUnavailable, "%v", err)
}

// resolveID turns what people type into a run's id: an id, a unique prefix of one, or "#12".
func (e *Engine) resolveID(ctx context.Context, name string) (string, error) {
	if whole, n, found := strings.Cut(name, "."); found {
		return e.resolveAttempt(ctx, whole, n)
	}
	if id.Valid(name) {
		return strings.ToLower(name), nil
	}
	if digits, ok := strings.CutPrefix(name, "#"); ok {
		number, err := strconv.ParseUint(digits, 10, 63)
		if err != nil {
			return "", rpcerr.New(rpcerr.InvalidRequest, "%q is not a run's number; write it as #12", name)
		}
		return e.byNumber(ctx, number)
	}
	if len(name) < minPrefix {
		return "", rpcerr.New(rpcerr.InvalidRequest, "%q is too short for a run's id; give at least %d characters, or a number as #12", name, minPrefix)
	}
	prefix := runKey(strings.ToLower(name))
	kvs, more, err := e.c.Store.Range(ctx, prefix, store.PrefixEnd(prefix), 2)
	if err != nil {
		return "", storeError(err)
	}
	found, err := e.c.History.Named(ctx, strings.ToLower(name), 2)
	if err != nil {
		return "", err
	}
	for _, kv := range kvs {
		if runID := strings.TrimPrefix(kv.Key, runPrefix); !slices.Contains(found, runID) {
			found = append(found, runID)
		}
	}
	switch {
	case len(found) == 0:
		return "", rpcerr.New(rpcerr.NotFound, "there is no run %s", name)
	case len(found) > 1 || more:
		return "", rpcerr.New(rpcerr.InvalidRequest, "several runs begin with %s; give more of the id", name)
	}
	return found[0], nil
}

// byNumber finds the run of a number; numbers are unique within a project only.
func (e *Engine) byNumber(ctx context.Context, number uint64) (string, error) {
	found, err := e.numbered(ctx, number)
	if err != nil {
		return "", err
	}
	projects := slices.Collect(maps.Keys(found))
	switch len(found) {
	case 0:
		return "", rpcerr.New(rpcerr.NotFound, "there is no run #%d", number)
	case 1:
		return found[projects[0]], nil
	}
	slices.Sort(projects)
	return "", rpcerr.New(rpcerr.InvalidRequest, "several projects have a run #%d (%s); give the run's id", number, strings.Join(projects, ", "))
}

// numbered finds the newest attempt of the run of a number in each project that has one. A later attempt has a later id.
func (e *Engine) numbered(ctx context.Context, number uint64) (map[string]string, error) {
	newest, err := newestNumbers(ctx, e.c.Store)
	if err != nil {
		return nil, err
	}
	found := map[string]string{}
	for project := range newest {
		kv, ok, err := e.c.Store.Get(ctx, numKey(project, number))
		if err != nil {
			return nil, storeError(err)
		}
		if ok {
			found[project] = string(kv.Value)
		}
		again := againRun(project, number)
		later, _, err := e.c.Store.Range(ctx, again, store.PrefixEnd(again), 1)
		if err != nil {
			return nil, storeError(err)
		}
		if len(later) > 0 {
			found[project] = string(later[0].Value)
		}
	}
	old, err := e.c.History.Numbered(ctx, number)
	if err != nil {
		return nil, err
	}
	for project, id := range old {
		found[project] = max(found[project], id)
	}
	return found, nil
}

// resolveAttempt finds attempt n of a run.
func (e *Engine) resolveAttempt(ctx context.Context, name, n string) (string, error) {
	number, err := strconv.Atoi(n)
	if err != nil {
		return "", rpcerr.New(rpcerr.InvalidRequest, "%q is not an attempt's number; write the first attempt of run #12 as #12.1", n)
	}
	runID, err := e.resolveID(ctx, name)
	if err != nil {
		return "", err
	}
	v, err := e.Run(ctx, runID)
	if err != nil {
		return "", err
	}
	// An id names one attempt; the run has it in common with later ones.
	if ids, err := e.numbered(ctx, v.GetNumber()); err == nil && ids[v.GetProject()] != "" && ids[v.GetProject()] != runID {
		if v, err = e.Run(ctx, ids[v.GetProject()]); err != nil {
			return "", err
		}
	}
	found, err := attemptID(&statev1.RunDefinition{Id: v.GetId(), Earlier: v.GetEarlier()}, number)
	if err != nil {
		return "", rpcerr.New(rpcerr.NotFound, "run #%d has no attempt %d; it has %d", v.GetNumber(), number, v.GetAttempt())
	}
	return found, nil
}

// newestNumbers is the highest run number of every project, of those in the store and those that were sealed. One short read a project.
func newestNumbers(ctx context.Context, s store.Store) (map[string]uint64, error) {
	out := map[string]uint64{}
	for from := numPrefix; ; {
		kvs, _, err := s.Range(ctx, from, store.PrefixEnd(numPrefix), 1)
		if err != nil {
			return nil, storeError(err)
		}
		if len(kvs) == 0 {
			return out, sealedNumbers(ctx, s, out)
		}
		project, number, ok := numOf(kvs[0].Key)
		if !ok {
			return nil, rpcerr.New(rpcerr.Internal, "the key %s is not one of ours", kvs[0].Key)
		}
		out[project] = number
		from = store.PrefixEnd(numProject(project))
	}
}

// sealedNumbers adds those of projects whose last runs are sealed.
func sealedNumbers(ctx context.Context, s store.Store, into map[string]uint64) error {
	kvs, _, err := s.Range(ctx, chainPrefix, store.PrefixEnd(chainPrefix), 0)
	if err != nil {
		return storeError(err)
	}
	for _, kv := range kvs {
		head := &statev1.ChainHead{}
		if err := decode(kv, head); err != nil {
			return err
		}
		into[head.GetProject()] = max(into[head.GetProject()], head.GetLastNumber())
	}
	return nil
}

// Runs implements Control.
func (e *Engine) Runs(ctx context.Context, project string, limit int) ([]*apiv1.Run, error) {
	runs, _, err := e.List(ctx, RunQuery{Project: project, Limit: limit})
	return runs, err
}

// cachedPlans remembers the plans of the last runs.
type cachedPlans struct {
	PlanLoader
	mu    sync.Mutex
	plans map[string]*planv1.Plan
	fifo  []string
}

const cachedPlanCount = 64

// LoadPlan implements PlanLoader.
func (c *cachedPlans) LoadPlan(ctx context.Context, digest string) (*planv1.Plan, error) {
	c.mu.Lock()
	plan := c.plans[digest]
	c.mu.Unlock()
	if plan != nil {
		return plan, nil
	}
	plan, err := c.PlanLoader.LoadPlan(ctx, digest)
	if err != nil {
		return nil, fmt.Errorf("load plan: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.plans[digest] == nil {
		c.fifo = append(c.fifo, digest)
	}
	c.plans[digest] = plan
	if len(c.fifo) > cachedPlanCount {
		delete(c.plans, c.fifo[0])
		c.fifo = c.fifo[1:]
	}
	return plan, nil
}
