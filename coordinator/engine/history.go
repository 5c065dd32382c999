package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/slipway-ci/slipway/coordinator/store"
	"github.com/slipway-ci/slipway/internal/id"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// History has the runs that were sealed and left the store. A run is in it before it leaves the store, so that whoever looks in the store
// first and then here misses none. Safe for concurrent use.
type History interface {
	// Sealed returns a sealed run, with its plan; nil if there is none of this id. The caller does not change it.
	Sealed(ctx context.Context, runID string) (*statev1.Bundle, error)
	// Named returns the ids, at most limit, that begin with prefix.
	Named(ctx context.Context, prefix string, limit int) ([]string, error)
	// Numbered returns the runs with a number: project → id.
	Numbered(ctx context.Context, number uint64) (map[string]string, error)
	// List returns runs without steps, newest first.
	List(ctx context.Context, q RunQuery) ([]*apiv1.Run, error)
}

// Lister lists runs, those in the store and the sealed ones alike.
type Lister interface {
	// List lists runs newest first, without steps. If there may be more, next is the id to go on before.
	List(ctx context.Context, q RunQuery) (runs []*apiv1.Run, next string, err error)
}

// RunQuery says which runs a listing has. Empty fields ask for nothing.
type RunQuery struct {
	Project string
	// Pipeline is the name or the path of the workflow file, or the path's last element.
	Pipeline string
	// Branch is a branch or tag as people write it, or a whole ref.
	Branch string
	// Commit is the beginning of a commit's hash.
	Commit string
	// Actor submitted it.
	Actor  string
	States []corev1.RunState
	// SinceMS and UntilMS bound when the run was created: Unix ms, the second exclusive; 0 is no bound.
	SinceMS, UntilMS int64
	// Before is the id of a run: only older ones.
	Before string
	// Limit: 0 is 20, at most MaxRuns.
	Limit int
}

// noHistory: nothing was ever sealed.
type noHistory struct{}

func (noHistory) Sealed(context.Context, string) (*statev1.Bundle, error)     { return nil, nil }
func (noHistory) Named(context.Context, string, int) ([]string, error)        { return nil, nil }
func (noHistory) Numbered(context.Context, uint64) (map[string]string, error) { return nil, nil }
func (noHistory) List(context.Context, RunQuery) ([]*apiv1.Run, error)        { return nil, nil }

// fill returns the query with a limit that is kept.
func (q RunQuery) fill() RunQuery {
	if q.Limit <= 0 {
		q.Limit = defaultRuns
	}
	q.Limit = min(q.Limit, MaxRuns)
	return q
}

// Matches says whether a run is one of those asked for, its place in the listing aside.
func (q RunQuery) Matches(h *statev1.RunHeader, def *statev1.RunDefinition) bool {
	created := h.GetCreatedMs()
	return (q.Project == "" || q.Project == def.GetProject()) && MatchesPipeline(q.Pipeline, def) && MatchesBranch(q.Branch, def.GetSource().GetRef()) &&
		strings.HasPrefix(def.GetSource().GetSha(), q.Commit) && (q.Actor == "" || q.Actor == def.GetActor()) &&
		(len(q.States) == 0 || slices.Contains(q.States, h.GetState())) && (q.SinceMS == 0 || created >= q.SinceMS) && (q.UntilMS == 0 || created < q.UntilMS)
}

// MatchesPipeline says whether people may call a run's pipeline so.
func MatchesPipeline(want string, def *statev1.RunDefinition) bool {
	return want == "" || want == def.GetName() || want == def.GetPath() || want == def.GetPath()[strings.LastIndex(def.GetPath(), "/")+1:]
}

// MatchesBranch says whether people may call a ref so.
func MatchesBranch(want, ref string) bool {
	return want == "" || want == ref || ref == "refs/heads/"+want || ref == "refs/tags/"+want
}

// ViewSealed is a sealed run as people see it.
func ViewSealed(b *statev1.Bundle, steps bool) (*apiv1.Run, error) {
	plan := &planv1.Plan{}
	if err := proto.Unmarshal(b.GetPlan(), plan); err != nil {
		return nil, fmt.Errorf("the plan of sealed run %s: %w", b.GetHeader().GetId(), err)
	}
	r, err := newRun(b.GetDefinition(), plan, b.GetHeader().GetNumber())
	if err != nil {
		return nil, fmt.Errorf("the plan of sealed run %s: %w", b.GetHeader().GetId(), err)
	}
	r.header = b.GetHeader()
	for _, rec := range b.GetJobs() {
		r.jobs[rec.GetId()] = &jobEntry{rec: rec}
	}
	r.sortOrder()
	return r.view(steps), nil
}

// sealed reads a run that has left the store.
func (e *Engine) sealed(ctx context.Context, runID string, steps bool) (*apiv1.Run, error) {
	b, err := e.c.History.Sealed(ctx, runID)
	if err != nil {
		return nil, err
	}
	if b == nil {
		return nil, rpcerr.New(rpcerr.NotFound, "there is no run %s", runID)
	}
	return ViewSealed(b, steps)
}

// List implements Lister.
func (e *Engine) List(ctx context.Context, q RunQuery) (runs []*apiv1.Run, next string, err error) {
	q = q.fill()
	// The store first: see History.
	runs, err = e.unsealed(ctx, q)
	if err != nil {
		return nil, "", err
	}
	old, err := e.c.History.List(ctx, q)
	if err != nil {
		return nil, "", err
	}
	known := map[string]bool{}
	for _, r := range runs {
		known[r.GetId()] = true
	}
	for _, r := range old {
		if !known[r.GetId()] {
			runs = append(runs, r)
		}
	}
	slices.SortFunc(runs, func(a, b *apiv1.Run) int { return strings.Compare(b.GetId(), a.GetId()) })
	if len(runs) >= q.Limit {
		runs = runs[:q.Limit]
		next = runs[len(runs)-1].GetId()
	}
	return runs, next, nil
}

// unsealed lists what is in the store. It reads pages of ids and asks the engine for those that are live.
func (e *Engine) unsealed(ctx context.Context, q RunQuery) ([]*apiv1.Run, error) {
	const page = 500
	var out []*apiv1.Run
	for from := e.newestFrom(q); ; {
		kvs, more, err := e.c.Store.Range(ctx, from, store.PrefixEnd(newPrefix), page)
		if err != nil {
			return nil, storeError(err)
		}
		var ids []string
		for _, kv := range kvs {
			runID := invert(strings.TrimPrefix(kv.Key, newPrefix))
			if q.Project == "" || string(kv.Value) == q.Project {
				ids = append(ids, runID)
			}
			from = kv.Key + "\x00"
		}
		if out, err = e.appendMatching(ctx, out, ids, q); err != nil {
			return nil, err
		}
		past := q.SinceMS > 0 && len(ids) > 0 && ids[len(ids)-1] < id.First(time.UnixMilli(q.SinceMS).Add(-idSlack))
		if !more || past || len(out) >= q.Limit {
			return out[:min(len(out), q.Limit)], nil
		}
	}
}

// idSlack is how much older a run's id may be than its record: it is made when the call comes in.
const idSlack = time.Minute

// newestFrom is the first key of a listing. An id is as old as its run, so a bound on the time is one on the key.
func (e *Engine) newestFrom(q RunQuery) string {
	before := q.Before
	if q.UntilMS > 0 {
		if until := id.First(time.UnixMilli(q.UntilMS)); before == "" || until < before {
			before = until
		}
	}
	if before == "" {
		return newPrefix
	}
	return newestKey(before) + "\x00"
}

// appendMatching adds those runs that are asked for, until there are enough.
func (e *Engine) appendMatching(ctx context.Context, out []*apiv1.Run, ids []string, q RunQuery) ([]*apiv1.Run, error) {
	live := map[string]*apiv1.Run{}
	no := map[string]bool{}
	room := q.Limit - len(out)
	err := e.ask(ctx, func(reply func(error)) {
		views, others := map[string]*apiv1.Run{}, map[string]bool{}
		for _, runID := range ids {
			r := e.runs[runID]
			if r == nil {
				continue
			}
			if others[runID] = !q.Matches(r.header, r.def); !others[runID] && len(views) < room {
				views[runID] = r.view(false)
			}
		}
		live, no = views, others
		reply(nil)
	})
	if err != nil {
		return nil, err
	}
	for _, runID := range ids {
		if len(out) >= q.Limit {
			break
		}
		if v := live[runID]; v != nil || no[runID] {
			if v != nil {
				out = append(out, v)
			}
			continue
		}
		rr, err := readRun(ctx, e.c.Store, runID)
		if err != nil {
			return nil, err
		}
		// One that was sealed meanwhile is in the history.
		if rr != nil && q.Matches(rr.header, rr.def) {
			out = append(out, e.viewStored(ctx, rr, false))
		}
	}
	return out, nil
}
