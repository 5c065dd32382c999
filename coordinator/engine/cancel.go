package engine

import (
	"context"
	"strings"

	"github.com/slipway-ci/slipway/coordinator/lifecycle"
	"github.com/slipway-ci/slipway/pipeline/graph"
	"github.com/slipway-ci/slipway/pipeline/resolve"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// Cancel implements Control. It needs no request record: cancelling twice is cancelling once. A number means the run as a whole, so the pods that
// its earlier attempts hold are let go, too; any other name means one attempt.
func (e *Engine) Cancel(ctx context.Context, _, name, reason string) error {
	id, err := e.resolveID(ctx, name)
	if err != nil {
		return err
	}
	ids := []string{id}
	if strings.HasPrefix(name, "#") && !strings.Contains(name, ".") {
		v, err := e.Run(ctx, id)
		if err != nil {
			return err
		}
		ids = append(ids, v.GetEarlier()...)
	}
	return e.ask(ctx, func(reply func(error)) {
		left := 1
		done := func() {
			if left--; left == 0 {
				reply(nil)
			}
		}
		for _, id := range ids {
			r := e.runs[id]
			if r == nil {
				continue // ended, and holds nothing
			}
			left++
			e.enqueue(r, func(d *draft) {
				d.cancel(reason)
				d.endHolds("the run was cancelled: " + reason)
				d.then(done)
			})
		}
		done()
	})
}

// cancel asks every job to end whose `if` does not hold in a cancelled run. Jobs that are still blocked are decided when their needs have ended.
func (d *draft) cancel(reason string) {
	if !lifecycle.Run.Can(d.head(), lifecycle.RunCancel) {
		return
	}
	waited := d.head().GetState() == corev1.RunState_RUN_STATE_WAITING
	d.fireRun(lifecycle.RunCancel, lifecycle.RunArgs{Reason: reason})
	d.graphDue = true
	why := cancelMessage(d.head())
	if waited {
		// It never had its turn, so not even clean-up jobs run.
		d.all(func(rec *statev1.JobRecord) {
			d.fireJob(rec.GetId(), lifecycle.JobCancel, lifecycle.JobArgs{Reason: why})
		})
		return
	}
	d.cancelBegun(why, func(*statev1.JobRecord) bool { return true })
}

// keeps says whether a job's `if` holds although the run, or the call that it belongs to, is cancelled.
func (d *draft) keeps(sc *scope, p *graph.Progress, rec *statev1.JobRecord) bool {
	genv, err := d.env(sc)
	if err != nil {
		return false
	}
	env, err := p.Env(rec.GetKey(), genv)
	if err != nil {
		return false
	}
	holds, err := resolve.Condition(sc.graph.Job(rec.GetKey()).GetCondition(), env)
	return err == nil && holds
}
