package agent

import (
	"context"
	"time"
)

// drain is a wish to leave.
type drain struct {
	limit  time.Duration
	reason string
}

// Drain makes the agent leave once it has nothing to do: it takes no more work, tells its coordinator so, and Run returns when every job has
// ended and is settled, or after limit. What runs then lives on, and the next process of the agent goes on with it. Only the first call
// counts; it never blocks.
func (a *Agent) Drain(limit time.Duration, reason string) {
	select {
	case a.drains <- drain{limit, reason}:
	default:
	}
}

// awaitDrain leaves when a drain is over. It returns with ctx.
func (a *Agent) awaitDrain(ctx context.Context, leave func()) {
	var d drain
	select {
	case d = <-a.drains:
	case <-ctx.Done():
		return
	}
	defer leave()
	select {
	case <-a.ready:
	default:
		return // nothing runs that a process of now could wait for
	}
	over := make(chan struct{})
	defer a.cfg.Clock.AfterFunc(d.limit, func() { close(over) })()
	a.holder.Close(d.reason)
	a.session.Drain(d.limit, d.reason)
	select {
	case <-a.holder.Empty():
		a.log.Info("drained: nothing runs here any more")
	case <-over:
		a.log.Warn("the drain's deadline has passed; what runs lives on, and the next agent on this host goes on with it", "jobs", a.holder.Count(), "deadline", d.limit)
	case <-ctx.Done():
	}
}

// condition is what heartbeats say of the agent. It never waits.
func (a *Agent) condition() (held int, problems []string) { return a.holder.Count(), a.problems() }
