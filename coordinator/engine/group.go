package engine

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/coordinator/store"
	"github.com/slipway-ci/slipway/pipeline/expr"
	"github.com/slipway-ci/slipway/pipeline/resolve"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// maxQueue is how many may wait for one group whose queue is max, as GitHub has it.
const maxQueue = 100

const groupPrefix = root + "group/"

func groupKey(project, name string) string {
	return groupPrefix + url.PathEscape(project) + "/" + url.PathEscape(strings.ToLower(name))
}

// group is one concurrency group of a project. Its key in the store exists while somebody holds it, and who takes it compares that it does not:
// so nobody holds it twice, whatever a leader believes. A grant counts as taken from its draft on, a release as held until it is committed.
//
//	claim: free ──────────────► held ──its end──► (key deleted) ──► granted to the first that waits
//	       held ──► waiting ──► held
//	                    └─────► cancelled, when a newer one waits (queue: single)
type group struct {
	key, name string
	// holder has the group, in the store or on its way there; nil: it is free.
	holder *claim
	// rev of the key, 0 while it is not stored.
	rev int64
	// waiting, in order of arrival.
	waiting []*claim
}

// claim is a run's, or a job's, wish for a group, until its end.
type claim struct {
	g *group
	r *run
	// job instance; "" is the run as a whole.
	job  string
	hold *statev1.Hold
	// told to end already, for a newer one.
	told bool
}

// groupOp is what the transition of a claim's record does to the group's key.
type groupOp struct {
	g       *group
	release bool
	value   []byte
}

// holdOf evaluates a `concurrency`; nil if there is none, or its group comes to nothing.
func holdOf(c *planv1.Concurrency, env *expr.Env) (*statev1.Hold, error) {
	if c == nil {
		return nil, nil //nolint:nilnil // no key, no hold
	}
	name, err := resolve.String(c.GetGroup(), env)
	if err != nil {
		return nil, fmt.Errorf("concurrency.group: %w", err)
	}
	if name == "" {
		return nil, nil //nolint:nilnil // an expression may choose none
	}
	if len(name) > maxLabel {
		return nil, fmt.Errorf("concurrency.group: it has %d bytes, more than %d", len(name), maxLabel)
	}
	h := &statev1.Hold{Group: name}
	if h.CancelInProgress, err = resolve.Bool(c.GetCancelInProgress(), env, false); err != nil {
		return nil, fmt.Errorf("concurrency.cancel-in-progress: %w", err)
	}
	queue, err := resolve.String(c.GetQueue(), env)
	switch {
	case err != nil:
		return nil, fmt.Errorf("concurrency.queue: %w", err)
	case queue == "max" && h.CancelInProgress:
		return nil, fmt.Errorf("concurrency: `queue: max` keeps all in order, and `cancel-in-progress` cancels: only one of them can hold")
	case queue != "" && queue != "single" && queue != "max":
		return nil, fmt.Errorf("concurrency.queue: it is single or max, not %q", clip(queue, maxLabel))
	}
	h.QueueAll = queue == "max"
	return h, nil
}

func (e *Engine) group(project, name string) *group {
	key := groupKey(project, name)
	g := e.groups[key]
	if g == nil {
		g = &group{key: key, name: name}
		e.groups[key] = g
	}
	return g
}

// claim asks for a group on behalf of the run (job "") or a job, and says whether it has it now. Otherwise it is granted later, by an event.
func (d *draft) claim(job string, hold *statev1.Hold) bool {
	if c := d.r.claims[job]; c != nil {
		return c.g.holder == c
	}
	hold.SinceMs = d.now
	g := d.e.group(d.r.def.GetProject(), hold.GetGroup())
	c := &claim{g: g, r: d.r, job: job, hold: hold}
	d.r.claims[job] = c
	if g.holder == nil && len(g.waiting) == 0 {
		g.holder = c
		d.take(c)
		return true
	}
	g.waiting = append(g.waiting, c)
	d.then(func() { d.e.settleGroup(g) })
	return false
}

// take writes the group's key together with the record of who takes it.
func (d *draft) take(c *claim) {
	value, err := encode(&statev1.GroupRecord{RunId: d.r.id, JobId: c.job, Name: c.g.name, SinceMs: c.hold.GetSinceMs()})
	if err != nil {
		d.e.c.Log.Error("a group's record can't be encoded", "run", d.r.id, "group", c.g.name, "error", err)
		return
	}
	d.groups[c.job] = groupOp{g: c.g, value: value}
}

// leave gives up a claim whose run or job has ended.
func (d *draft) leave(job string) {
	c := d.r.claims[job]
	if c == nil {
		return
	}
	if op, ok := d.groups[job]; ok && !op.release {
		// It was taken by this very draft, so there is no key yet.
		delete(d.groups, job)
	} else if c.g.rev != 0 && c.g.holder == c {
		d.groups[job] = groupOp{g: c.g, release: true}
	}
	d.then(func() { d.e.drop(c) })
}

// drop forgets a claim, and lets the next one have the group.
func (e *Engine) drop(c *claim) {
	if c.r.claims[c.job] != c {
		return
	}
	delete(c.r.claims, c.job)
	g := c.g
	g.waiting = slices.DeleteFunc(g.waiting, func(w *claim) bool { return w == c })
	if g.holder == c {
		g.holder, g.rev = nil, 0
	}
	e.settleGroup(g)
}

// settleGroup lets follow what must of the claims on a group; it may be called at any time.
func (e *Engine) settleGroup(g *group) {
	if n := len(g.waiting); n > 0 {
		newest := g.waiting[n-1]
		for i, w := range g.waiting[:n-1] {
			if !newest.hold.GetQueueAll() || i >= maxQueue {
				e.tellToEnd(w, fmt.Sprintf("%s waits for the concurrency group `%s` now, and only the newest may wait", newest.who(), g.name))
			}
		}
		if n > maxQueue {
			e.tellToEnd(newest, fmt.Sprintf("%d wait for the concurrency group `%s` already, and more can't", maxQueue, g.name))
		}
		if newest.hold.GetCancelInProgress() && g.holder != nil {
			e.tellToEnd(g.holder, fmt.Sprintf("%s wants the concurrency group `%s`, with cancel-in-progress", newest.who(), g.name))
		}
	}
	if g.holder == nil {
		if i := slices.IndexFunc(g.waiting, func(w *claim) bool { return !w.told }); i >= 0 {
			next := g.waiting[i]
			g.waiting = slices.Delete(g.waiting, i, i+1)
			g.holder = next
			e.enqueue(next.r, func(d *draft) { d.granted(next) })
		}
	}
	if g.holder == nil && len(g.waiting) == 0 {
		delete(e.groups, g.key)
		return
	}
	e.explainGroup(g)
}

// explainGroup says to those that wait who holds the group, and how many come before them.
func (e *Engine) explainGroup(g *group) {
	for i, w := range g.waiting {
		why := g.reason(i)
		if w.told || w.r.why[w.job] == why || e.runs[w.r.id] == nil {
			continue
		}
		w.r.why[w.job] = why
		e.publish(w.r)
	}
}

// reason of the one that waits at a position.
func (g *group) reason(before int) string {
	why := fmt.Sprintf("waits for the concurrency group `%s`", g.name)
	if g.holder != nil {
		why += ", held by " + g.holder.who()
	}
	if before > 0 {
		why += fmt.Sprintf("; %d wait before it", before)
	}
	return why
}

// who is a claim's owner, for people.
func (c *claim) who() string {
	if c.r == nil {
		return "a run that this coordinator can't read"
	}
	text := fmt.Sprintf("run #%d", c.r.number)
	if j := c.r.jobs[c.job]; j != nil {
		text += ", job " + j.rec.GetName()
	}
	return text
}

// tellToEnd cancels who waits or runs, in favour of a newer one.
func (e *Engine) tellToEnd(c *claim, reason string) {
	if c.told || c.r == nil {
		return
	}
	c.told = true
	e.enqueue(c.r, func(d *draft) {
		if c.r.claims[c.job] != c {
			return
		}
		if c.job == "" {
			d.cancel(reason)
			return
		}
		d.cancelJobs([]string{c.job}, reason)
	})
}

// granted goes on with who has waited for the group.
func (d *draft) granted(c *claim) {
	if d.r.claims[c.job] != c {
		return
	}
	d.take(c)
	if !d.resumes(c) {
		delete(d.groups, c.job)
		d.then(func() { d.e.drop(c) })
		return
	}
	d.then(func() { d.e.explainGroup(c.g) })
	d.graphDue = true
}

// forgetClaims takes back what a run asked for whose creation was refused.
func (e *Engine) forgetClaims(r *run) {
	for _, c := range r.claims {
		e.drop(c)
	}
}

// loadGroups reads who holds which group, and who waits, once the runs are loaded.
func (e *Engine) loadGroups(ctx context.Context) error {
	kvs, _, err := e.c.Store.Range(ctx, groupPrefix, store.PrefixEnd(groupPrefix), 0)
	if err != nil {
		return fmt.Errorf("load groups: %w", err)
	}
	for _, kv := range kvs {
		rec := &statev1.GroupRecord{}
		if err := decode(kv, rec); err != nil {
			return fmt.Errorf("load groups: %w", err)
		}
		g := &group{key: kv.Key, name: rec.GetName(), rev: kv.ModRevision}
		g.holder = &claim{g: g, job: rec.GetJobId(), hold: &statev1.Hold{Group: rec.GetName(), SinceMs: rec.GetSinceMs()}}
		e.groups[kv.Key] = g
		if r := e.runs[rec.GetRunId()]; r != nil {
			g.holder.r = r
			r.claims[g.holder.job] = g.holder
			continue
		}
		e.c.Log.Error("a concurrency group is held by a run that can't be read; it stays held", "group", rec.GetName(), "run", rec.GetRunId())
	}
	var waiting []*claim
	for _, r := range e.runs {
		waiting = append(waiting, r.waitingClaims()...)
	}
	slices.SortFunc(waiting, func(a, b *claim) int {
		return cmp.Or(cmp.Compare(a.hold.GetSinceMs(), b.hold.GetSinceMs()), strings.Compare(a.r.id, b.r.id), strings.Compare(a.job, b.job))
	})
	for _, c := range waiting {
		c.g = e.group(c.r.def.GetProject(), c.hold.GetGroup())
		c.r.claims[c.job] = c
		c.g.waiting = append(c.g.waiting, c)
	}
	return nil
}

// settleGroups follows all of them up, in a stable order.
func (e *Engine) settleGroups() {
	keys := make([]string, 0, len(e.groups))
	for key := range e.groups {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	for _, key := range keys {
		e.settleGroup(e.groups[key])
	}
}

// waitingClaims are those that a run's records tell of.
func (r *run) waitingClaims() []*claim {
	var out []*claim
	if r.header.GetState() == corev1.RunState_RUN_STATE_WAITING && r.header.GetHold() != nil {
		out = append(out, &claim{r: r, hold: r.header.GetHold()})
	}
	for _, id := range r.order {
		if rec := r.jobs[id].rec; rec.GetState() == corev1.JobState_JOB_STATE_WAITING && rec.GetHold() != nil {
			out = append(out, &claim{r: r, job: id, hold: rec.GetHold()})
		}
	}
	return out
}
