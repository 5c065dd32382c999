package engine

import (
	"context"

	"github.com/slipway-ci/slipway/coordinator/lifecycle"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
)

// watcher is one subscriber. next holds the newest view that it has not taken; the engine's goroutine alone puts and closes.
type watcher struct{ next chan *apiv1.Run }

func (w *watcher) put(v *apiv1.Run) {
	select {
	case <-w.next:
	default:
	}
	w.next <- v
}

// Watch implements Control. The views are shared between watchers: read only. The channel is also closed, without a terminal state, when this
// engine stops leading.
func (e *Engine) Watch(ctx context.Context, name string) (<-chan *apiv1.Run, error) {
	runID, err := e.resolveID(ctx, name)
	if err != nil {
		return nil, err
	}
	w := &watcher{next: make(chan *apiv1.Run, 1)}
	live := false
	err = e.ask(ctx, func(reply func(error)) {
		if r := e.runs[runID]; r != nil {
			live = true
			w.put(r.view(true))
			if r.terminal() { // a pod of it is held
				close(w.next)
				reply(nil)
				return
			}
			r.watchers[w] = struct{}{}
			e.queue.watched[runID] = true
		}
		reply(nil)
	})
	if err != nil {
		return nil, err
	}
	if !live {
		v, err := e.stored(ctx, runID, true)
		if err != nil {
			return nil, err
		}
		if !lifecycle.Run.IsTerminal(v.GetState()) {
			return nil, rpcerr.New(rpcerr.Internal, "run %s stands still: this coordinator could not load it; its log says why", runID)
		}
		w.put(v)
		close(w.next)
	}
	out := make(chan *apiv1.Run)
	go e.deliver(ctx, runID, w, out)
	return out, nil
}

func (e *Engine) deliver(ctx context.Context, runID string, w *watcher, out chan<- *apiv1.Run) {
	defer close(out)
	defer e.post(func() {
		if r := e.runs[runID]; r != nil {
			delete(r.watchers, w)
		}
	})
	for {
		select {
		case <-ctx.Done():
			return
		case <-e.stopped:
			return
		case v, more := <-w.next:
			if !more {
				return
			}
			select {
			case out <- v:
			case <-ctx.Done():
				return
			}
		}
	}
}

// publish gives a run's watchers its newest view.
func (e *Engine) publish(r *run) {
	if len(r.watchers) == 0 {
		return
	}
	v := r.view(true)
	for w := range r.watchers {
		w.put(v)
		if r.terminal() {
			close(w.next)
			delete(r.watchers, w)
		}
	}
}
