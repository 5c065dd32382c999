package simulation

import (
	"maps"
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/coordinator/lifecycle"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// judgeViews holds what people are shown against promise 7: what waits says why.
func (w *world) judgeViews(views []*apiv1.Run) {
	for _, v := range views {
		lives := map[string]bool{}
		for _, j := range v.GetJobs() {
			lives[j.GetKey()] = lives[j.GetKey()] || !lifecycle.Job.IsTerminal(j.GetState())
		}
		if v.GetState() == corev1.RunState_RUN_STATE_WAITING && v.GetReason() == "" {
			w.check.violate("what waits says why", []string{v.GetId()}, "run %s waits without a reason", v.GetId())
		}
		for _, j := range v.GetJobs() {
			about := []string{v.GetId()}
			w.check.waits.seen(v.GetId(), j)
			switch j.GetState() {
			case corev1.JobState_JOB_STATE_WAITING:
				if j.GetReason() == "" {
					w.check.violate("what waits says why", about, "job %s/%s waits without a reason", v.GetId(), j.GetId())
				}
			case corev1.JobState_JOB_STATE_BLOCKED:
				// Needs of a called workflow's jobs are named within it.
				waits := slices.ContainsFunc(j.GetNeeds(), func(n string) bool {
					alive, known := lives[n]
					return alive || !known
				})
				if !waits && j.GetReason() == "" && v.GetState() > corev1.RunState_RUN_STATE_WAITING && v.GetState() < corev1.RunState_RUN_STATE_FINISHING {
					w.check.violate("what waits says why", about, "job %s/%s is blocked, and nothing that it needs is to come", v.GetId(), j.GetId())
				}
			default:
			}
		}
	}
}

// judgeEnd holds the last state against what must be true once no fault happens any more.
func (w *world) judgeEnd() {
	for _, request := range slices.Sorted(maps.Keys(w.unanswered)) {
		w.check.violate("everything ends", []string{request}, "%s was never answered", request)
	}
	for _, run := range slices.Sorted(maps.Keys(w.check.live)) {
		w.check.violate("everything ends", []string{run}, "run %s is %s after %v without faults", run, short(w.check.runs[run].GetState().String()), w.l.now-w.healed)
	}
	w.judgeRecords()
	for _, h := range w.hosts {
		if len(h.pods) > 0 {
			ids := slices.Sorted(maps.Keys(h.pods))
			w.check.violate("nothing is left of an ended job", ids, "host %s has the pods %s", h.name, strings.Join(ids, ", "))
		}
	}
	for _, a := range w.agents {
		if held := a.holder.Held(); len(held) > 0 {
			w.check.violate("nothing is left of an ended job", held, "agent %s holds %s", a.name, strings.Join(held, ", "))
		}
	}
}

// judgeRecords: every answer is a run, every run's jobs have ended.
func (w *world) judgeRecords() {
	for _, request := range slices.Sorted(maps.Keys(w.check.answers)) {
		run := w.check.answers[request].run
		if head := w.check.runs[run]; head == nil || !lifecycle.Run.IsTerminal(head.GetState()) {
			w.check.violate("no accepted run is lost", []string{run}, "request %s was answered with run %s, which is %s", request, run, head.GetState())
		}
	}
	for _, run := range slices.Sorted(maps.Keys(w.check.jobs)) {
		for _, id := range slices.Sorted(maps.Keys(w.check.jobs[run])) {
			if rec := w.check.jobs[run][id]; !lifecycle.Job.IsTerminal(rec.GetState()) {
				w.check.violate("everything ends", []string{run}, "job %s/%s is %s in an ended run", run, id, rec.GetState())
			}
		}
	}
	if len(w.check.groups) > 0 {
		w.check.violate("everything ends", nil, "nobody lives, and the groups %v are held", sortedKeys(w.check.groups))
	}
	made := map[string]string{}
	for _, run := range slices.Sorted(maps.Keys(w.check.defs)) {
		request := w.check.defs[run].GetRequestId()
		if other := made[request]; other != "" {
			w.check.violate("no submit is doubled", []string{run, other}, "request %s made the runs %s and %s", request, other, run)
		}
		made[request] = run
	}
}
