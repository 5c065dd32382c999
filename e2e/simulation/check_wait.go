package simulation

import (
	"time"

	"github.com/slipway-ci/slipway/coordinator/lifecycle"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// waits judges how long things wait: jobs for their turn, people for a reason, hosts for being cleaned.
type waits struct {
	c *checker
	// calm: no fault happens, so what is in flight is short.
	calm bool
	// queued are the jobs that wait for their first attempt, with how many of richer projects were given an agent meanwhile.
	queued map[string]*waiter
	// live attempts by project.
	live map[string]int
	// used are the projects that ever had an attempt: what they used counts against them for a while.
	used map[string]bool
	// ended is when an attempt's end was stored.
	ended map[string]time.Duration
	// mute counts how often in a row a queued job was seen without a reason.
	mute map[string]int
}

type waiter struct {
	run, project string
	overtaken    int
}

func newWaits(c *checker) *waits {
	return &waits{c: c, queued: map[string]*waiter{}, live: map[string]int{}, used: map[string]bool{}, ended: map[string]time.Duration{}, mute: map[string]int{}}
}

// changed follows one job's record.
func (w *waits) changed(run, id string, old, next *statev1.JobRecord) {
	project, name := w.c.defs[run].GetProject(), run+"/"+id
	lived, lives := livesIn(old), livesIn(next)
	switch {
	case lives && !lived:
		delete(w.queued, name)
		w.assigned(project)
		w.live[project]++
		w.used[project] = true
	case lived && !lives:
		w.live[project]--
		w.ended[next.GetAttempt().GetId()] = w.c.l.now
	}
	switch {
	case next.GetState() == corev1.JobState_JOB_STATE_QUEUED && next.GetAttempt() == nil:
		if w.queued[name] == nil {
			w.queued[name] = &waiter{run: run, project: project}
		}
	default:
		delete(w.queued, name)
	}
}

func livesIn(rec *statev1.JobRecord) bool {
	a := rec.GetAttempt()
	return a != nil && !lifecycle.Attempt.IsTerminal(a.GetState())
}

// assigned: a project that has agents already was given one more. Who never had one must not wait for more of that than was on its way.
func (w *waits) assigned(project string) {
	if !w.calm || w.live[project] == 0 {
		return
	}
	slots := 0
	for _, n := range w.c.slots {
		slots += n
	}
	for _, name := range sortedKeys(w.queued) {
		q := w.queued[name]
		if q.project == project || w.used[q.project] {
			continue
		}
		if q.overtaken++; q.overtaken > slots {
			w.c.violate("projects share", []string{q.run}, "job %s waits, %s has had nothing yet, and %d jobs of projects that have were placed meanwhile", name, q.project, q.overtaken)
		}
	}
}

// seen judges a job as people see it, once no fault happens: it must soon say why it waits.
func (w *waits) seen(run string, j *apiv1.Job) {
	name := run + "/" + j.GetId()
	if !w.calm || j.GetState() != corev1.JobState_JOB_STATE_QUEUED || j.GetReason() != "" {
		delete(w.mute, name)
		return
	}
	if w.mute[name]++; w.mute[name] > 2 {
		w.c.violate("what waits says why", []string{run}, "job %s is queued, and %d looks in a row gave no reason", name, w.mute[name])
	}
}

// podGrace is how long a pod may outlive its attempt while nothing is wrong: an agent may take half a minute to connect again.
const podGrace = 90 * time.Second

// left judges the pods of a host.
func (w *waits) left(h *host, since time.Duration) {
	for _, id := range sortedKeys(h.pods) {
		ended, ok := w.ended[id]
		if ok && w.c.l.now-max(ended, since) > podGrace {
			w.c.violate("nothing is left of an ended job", []string{id}, "host %s still has the pod of attempt %s, which ended at %.3fs", h.name, id, ended.Seconds())
		}
	}
}
