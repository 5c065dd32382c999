package engine

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/coordinator/lifecycle"
	"github.com/slipway-ci/slipway/coordinator/schedule"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// queue is the scheduler's queue, kept up with the committed records: a look for placements goes through the jobs that moved since the last
// one, not through all that wait.
type queue struct {
	jobs *schedule.Queue
	// moved jobs are looked at again before the next plan.
	moved map[instance]bool
	// timed jobs are looked at before every plan: they wait for a retry's time, or avoid an agent until some time.
	timed    map[instance]bool
	shares   schedule.Shares
	plan     schedule.Result
	projects map[string]schedule.Project
	// watched runs, by id; tell: explanations may have changed for all of them.
	watched map[string]bool
	tell    bool
}

type instance struct{ run, job string }

func newQueue(c Config) queue {
	q := queue{jobs: schedule.NewQueue(c.Scheduling.Ageing.Std().Milliseconds()), moved: map[instance]bool{}, timed: map[instance]bool{},
		projects: map[string]schedule.Project{}, watched: map[string]bool{}}
	for name, p := range c.Projects {
		q.projects[name] = schedule.Project{Weight: p.Weight, MaxRunning: int(p.MaxRunning)}
	}
	return q
}

func (q *queue) touch(run, job string) { q.moved[instance{run, job}] = true }

// adopt takes up a run, new or loaded.
func (e *Engine) adopt(r *run) {
	e.runs[r.id] = r
	r.queued = func(jobID string) string { return e.whyQueued(r, jobID) }
	for id, j := range r.jobs {
		if j.rec.GetState() == corev1.JobState_JOB_STATE_QUEUED {
			e.queue.touch(r.id, id)
		}
	}
}

// syncQueue makes the queue what the records say.
func (e *Engine) syncQueue() {
	q := &e.queue
	for i := range q.timed {
		q.moved[i] = true
	}
	q.timed = map[instance]bool{}
	moved := slices.SortedFunc(maps.Keys(q.moved), func(a, b instance) int { return cmp.Or(strings.Compare(a.run, b.run), strings.Compare(a.job, b.job)) })
	q.moved = map[instance]bool{}
	for _, i := range moved {
		j, ok := e.queuedJob(i)
		if !ok {
			q.jobs.Remove(i.run, i.job)
			continue
		}
		q.jobs.Put(j)
		if q.watched[i.run] {
			q.tell = true
		}
	}
}

// queuedJob returns a job that is committed as queued, that no placement is on its way for, and whose time has come.
func (e *Engine) queuedJob(i instance) (schedule.Job, bool) {
	r := e.runs[i.run]
	if r == nil || r.jobs[i.job] == nil || r.placing[i.job] != "" {
		return schedule.Job{}, false
	}
	rec, now := r.jobs[i.job].rec, e.nowMS()
	if rec.GetState() != corev1.JobState_JOB_STATE_QUEUED {
		return schedule.Job{}, false
	}
	if r.notBefore[i.job] > now {
		e.queue.timed[i] = true
		return schedule.Job{}, false
	}
	w, err := e.wantsNow(r, rec)
	if err != nil {
		// It could be evaluated when it was queued; a new configuration changed that.
		e.enqueue(r, func(d *draft) {
			if d.job(i.job).GetState() == corev1.JobState_JOB_STATE_QUEUED {
				d.fireJob(i.job, lifecycle.JobInvalid, lifecycle.JobArgs{Failure: userFailure("invalid-job", err.Error())})
			}
		})
		return schedule.Job{}, false
	}
	j := e.scheduleJob(r, rec, w, slices.Index(r.order, i.job))
	for agentID, av := range r.avoid[i.job] {
		if av.untilMS > now {
			if j.Avoid == nil {
				j.Avoid = map[string]string{}
			}
			j.Avoid[agentID] = av.reason
			e.queue.timed[i] = true
		}
	}
	return j, true
}

// scheduleJob is what the scheduler is told of a job; order is its place in the run.
func (e *Engine) scheduleJob(r *run, rec *statev1.JobRecord, w *wants, order int) schedule.Job {
	return schedule.Job{Run: r.id, Job: rec.GetId(), Project: r.def.GetProject(), QueuedMs: rec.GetQueuedMs(), Order: order,
		Priority: e.c.Scheduling.Priority(r.def.GetProject(), r.def.GetPath(), r.def.GetEvent()), Pools: w.pools, Labels: w.labels, CPUMilli: w.cpu, Memory: w.memory}
}

// whyQueued says why a queued job has no agent; "" if one is being given to it, or nobody has looked yet.
func (e *Engine) whyQueued(r *run, jobID string) string {
	if j, ok := e.queue.jobs.Job(r.id, jobID); ok {
		return e.queue.plan.Explain(j).Summary
	}
	if left := r.notBefore[jobID] - e.nowMS(); left > 0 {
		return fmt.Sprintf("the next attempt begins in %v (retry.backoff)", time.Duration(left)*time.Millisecond)
	}
	return ""
}

// tellWatchers publishes the runs whose jobs wait for something else than before.
func (e *Engine) tellWatchers() {
	q := &e.queue
	if !q.tell {
		return
	}
	q.tell = false
	for _, id := range slices.Sorted(maps.Keys(q.watched)) {
		r := e.runs[id]
		if r == nil || len(r.watchers) == 0 {
			delete(q.watched, id)
			continue
		}
		var all strings.Builder
		for _, jobID := range r.order {
			if r.jobs[jobID].rec.GetState() == corev1.JobState_JOB_STATE_QUEUED {
				fmt.Fprintf(&all, "%s: %s\n", jobID, e.whyQueued(r, jobID))
			}
		}
		if r.told != all.String() {
			r.told = all.String()
			e.publish(r)
		}
	}
}
