package simulation

import (
	"context"
	"fmt"
	"time"

	"github.com/slipway-ci/slipway/coordinator/engine"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

var source = &corev1.Source{Repository: "team/app", Sha: "abc", Ref: "refs/heads/main", Tree: "sha256:tree"}

// rpcTimeout is how long a client waits for an answer before it asks again.
const rpcTimeout = 10 * time.Second

// request is something that a client wants, until it has an answer.
type request struct {
	w    *world
	name string
	// do is a call, with a number of its own; it runs in a goroutine.
	do func(ctx context.Context, k *control, call int) error
	// done is called by the loop with the first answer that is not an error.
	done     func()
	answered bool
	tries    int
	next     *event
}

// try sends it, perhaps twice, and again when nothing comes back.
func (r *request) try() {
	if r.answered {
		return
	}
	l := r.w.l
	r.tries++
	r.send()
	if l.chance(0.05 * r.w.net.faults) {
		r.send()
	}
	r.again(rpcTimeout)
}

// again tries once more after a while, unless another try comes first.
func (r *request) again(d time.Duration) {
	if r.next != nil {
		r.next.gone = true
	}
	wait := min(rpcTimeout, 500*time.Millisecond<<min(r.tries, 6))
	r.next = r.w.l.after(d+r.w.l.between(0, wait), r.try)
}

func (r *request) send() {
	l := r.w.l
	c := r.w.pick()
	if c == nil || l.chance(0.05*r.w.net.faults) {
		return // lost on its way
	}
	d := l.between(200*time.Microsecond, 30*time.Millisecond)
	if l.chance(0.05 * r.w.net.faults) {
		d = l.between(time.Second, 12*time.Second)
	}
	l.after(d, func() {
		if c.up && !c.stopping {
			c.mine(func() { r.arrive(c) })()
		}
	})
}

// arrive is the call in the coordinator's process.
func (r *request) arrive(c *coordinator) {
	control, life, ctx := c.control, c.node.life, c.life
	n := r.w.calls
	r.w.calls++
	r.w.wg.Go(func() {
		err := r.do(ctx, control, n)
		r.w.l.park(fmt.Sprintf("answer/%s/%09d", r.name, n), func() {
			if !c.up || c.node.life != life || r.w.l.chance(0.05*r.w.net.faults) {
				return // the answer is lost
			}
			r.w.l.after(r.w.l.between(200*time.Microsecond, 30*time.Millisecond), func() { r.answer(c, err) })
		})
	})
}

func (r *request) answer(c *coordinator, err error) {
	switch {
	case r.answered:
	case err != nil:
		r.w.hist.add("cli", []string{r.name}, "%s: %s says %v", r.name, c.name, err)
		r.again(100 * time.Millisecond)
	default:
		r.answered = true
		r.done()
	}
}

// submit wants a run of a project.
func (w *world) submit(project int) {
	name := fmt.Sprintf("req-%04d", w.requests)
	w.requests++
	w.unanswered[name] = true
	s := w.submission(name, project, w.l.rng.IntN(len(shapes)))
	var id string
	r := &request{w: w, name: name}
	r.do = func(ctx context.Context, k *control, call int) error {
		run, number, err := k.Submit(ctx, s)
		if err == nil {
			w.l.park(fmt.Sprintf("submitted/%s/%s/%09d", name, run, call), func() { w.check.submitted(name, run, number); id = run })
		}
		return err
	}
	r.done = func() {
		delete(w.unanswered, name)
		w.hist.add("cli", []string{id, name}, "%s is run %s", name, id)
		if w.l.chance(w.o.cancels) {
			w.l.after(w.l.between(0, 30*time.Second), func() { w.cancel(id) })
		}
		if w.l.chance(0.15) {
			failed := w.l.chance(0.5)
			w.l.after(w.l.between(5*time.Second, 30*time.Second), func() { w.rerun(id, failed) })
		}
	}
	r.try()
}

// rerun wants another attempt of a run, and asks until it has ended.
func (w *world) rerun(run string, failed bool) {
	name := "rerun-" + run
	w.unanswered[name] = true
	r := &request{w: w, name: name}
	r.do = func(ctx context.Context, k *control, call int) error {
		again, err := k.Rerun(ctx, engine.RerunRequest{RequestID: name, Run: run, Failed: failed, By: "ada"})
		if rpcerr.ReasonOf(err) == rpcerr.InvalidRequest {
			return nil // there is nothing to run again
		}
		if err == nil {
			w.l.park(fmt.Sprintf("submitted/%s/%s/%09d", name, again.RunID, call), func() { w.check.submitted(name, again.RunID, again.Number) })
		}
		return err
	}
	r.done = func() {
		delete(w.unanswered, name)
		w.hist.add("cli", []string{run}, "%s is answered", name)
	}
	r.try()
}

// cancel wants a run to end.
func (w *world) cancel(run string) {
	name := "cancel-" + run
	w.unanswered[name] = true
	r := &request{w: w, name: name}
	r.do = func(ctx context.Context, k *control, call int) error {
		err := k.Cancel(ctx, name, run, "simulated")
		if err == nil {
			w.l.park(fmt.Sprintf("cancelled/%s/%09d", name, call), func() { w.check.cancelled(run) })
		}
		return err
	}
	r.done = func() {
		delete(w.unanswered, name)
		w.hist.add("cli", []string{run}, "run %s is being cancelled", run)
	}
	r.try()
}

// look asks the leader what waits, and why.
func (w *world) look() {
	for _, c := range w.coordinators {
		e := c.engine.Load()
		if e == nil || !c.up || c.paused {
			continue
		}
		ctx := c.life
		w.wg.Go(func() {
			views, err := e.Runs(ctx, "", engine.MaxRuns)
			if err != nil {
				return
			}
			w.l.park("looked/"+c.name, func() { w.judgeViews(views) })
		})
	}
}
