package simulation

import (
	"context"
	"fmt"
	"time"

	"github.com/slipway-ci/slipway/coordinator/engine"
	"github.com/slipway-ci/slipway/internal/rpcerr"
)

// planFaults draws what will happen to processes and network, and when it stops.
func (w *world) planFaults() {
	l := w.l
	w.store.faults, w.net.faults = w.o.faults, w.o.faults
	for _, h := range w.hosts {
		h.sick = w.o.faults
	}
	n := int(w.o.faults * float64(2+l.rng.IntN(8)))
	for range n {
		l.after(l.between(time.Second, faultFor-5*time.Second), w.fault)
	}
	l.after(faultFor, w.heal)
}

func (w *world) note(kind string) { w.kinds[kind]++ }

// fault makes one thing go wrong now.
func (w *world) fault() {
	l := w.l
	c := w.coordinators[l.rng.IntN(len(w.coordinators))]
	a := w.agents[l.rng.IntN(len(w.agents))]
	switch l.rng.IntN(12) {
	case 0, 1:
		w.crashCoordinator(c)
	case 2:
		w.pauseNode(c.node, "pause-coordinator")
	case 3:
		w.handOver(c)
	case 4, 5:
		w.crashAgent(a)
	case 6:
		w.pauseNode(a.node, "pause-agent")
	case 7:
		w.partition(a, c)
	case 8:
		w.cutStore(c)
	case 9:
		w.breakLinks(a)
	case 11:
		w.drain(a)
	case 10:
		if l.chance(0.5) {
			w.outage()
		} else {
			w.killPod()
		}
	}
}

func (w *world) crashCoordinator(c *coordinator) {
	if !c.up {
		return
	}
	w.note("crash-coordinator")
	c.crash()
	w.l.after(w.l.between(100*time.Millisecond, 15*time.Second), func() { w.bootCoordinator(c) })
}

func (w *world) bootCoordinator(c *coordinator) {
	if c.up {
		return
	}
	if err := c.boot(); err != nil {
		w.l.fail("starting %s: %w", c.name, err)
	}
}

// handOver stops a coordinator in order: its successor need not wait for the lease.
func (w *world) handOver(c *coordinator) {
	if !c.up || c.stopping {
		return
	}
	w.note("hand-over")
	c.handOver()
	c.after(2*time.Second, func() {
		c.crash()
		w.l.after(w.l.between(0, 5*time.Second), func() { w.bootCoordinator(c) })
	})
}

func (w *world) crashAgent(a *agentProc) {
	if !a.up {
		return
	}
	w.note("crash-agent")
	a.crash()
	w.l.after(w.l.between(10*time.Millisecond, 45*time.Second), func() { w.bootAgent(a) })
}

func (w *world) bootAgent(a *agentProc) {
	if a.up {
		return
	}
	if err := a.boot(); err != nil {
		w.l.fail("starting %s: %w", a.name, err)
	}
}

func (w *world) pauseNode(n *node, kind string) {
	if !n.up || n.paused {
		return
	}
	w.note(kind)
	w.hist.add(n.name, nil, "is paused")
	n.pause()
	life := n.life
	w.l.after(w.l.between(100*time.Millisecond, 20*time.Second), func() { w.resumeNode(n, life) })
}

func (w *world) resumeNode(n *node, life int) {
	if n.up && n.paused && n.life == life {
		w.hist.add(n.name, nil, "goes on")
		n.resume()
	}
}

// partition cuts an agent off from a coordinator.
func (w *world) partition(a *agentProc, c *coordinator) {
	p := pair(a.node, c.node)
	if w.net.cut[p] {
		return
	}
	w.note("partition")
	w.hist.add("net", nil, "%s and %s are cut off from each other", a.name, c.name)
	w.net.cut[p] = true
	for _, l := range w.net.links {
		if l.a == a && l.c == c {
			a.after(brokenAfter, func() {
				if w.net.cut[p] {
					l.broken(errReset)
				}
			})
		}
	}
	w.l.after(w.l.between(time.Second, 50*time.Second), func() { w.join(p) })
}

func (w *world) join(p string) {
	if w.net.cut[p] {
		w.hist.add("net", nil, "%s is joined again", p)
		delete(w.net.cut, p)
		for _, l := range w.net.links {
			if l.clientOver && !l.serverOver && pair(l.a.node, l.c.node) == p {
				l.hangUp(w.l.between(0, time.Second))
			}
		}
	}
}

// cutStore keeps a coordinator from the store.
func (w *world) cutStore(c *coordinator) {
	if w.store.cut[c.name] {
		return
	}
	w.note("cut-store")
	w.hist.add("net", nil, "%s is cut off from the store", c.name)
	w.store.cut[c.name] = true
	w.l.after(w.l.between(500*time.Millisecond, 15*time.Second), func() { w.joinStore(c) })
}

func (w *world) joinStore(c *coordinator) {
	if w.store.cut[c.name] {
		w.hist.add("net", nil, "%s reaches the store again", c.name)
		delete(w.store.cut, c.name)
		w.store.elect()
	}
}

// outage takes the store away from all.
func (w *world) outage() {
	if w.store.outage {
		return
	}
	w.note("store-outage")
	w.hist.add("store", nil, "is away")
	w.store.outage = true
	w.l.after(w.l.between(500*time.Millisecond, 12*time.Second), w.endOutage)
}

func (w *world) endOutage() {
	if w.store.outage {
		w.hist.add("store", nil, "is back")
		w.store.outage = false
		w.store.elect()
	}
}

// breakLinks resets an agent's connections.
func (w *world) breakLinks(a *agentProc) {
	w.note("reset-connection")
	for _, l := range w.net.links {
		if l.a == a && !l.clientOver {
			w.hist.add("net", nil, "link %d of %s is reset", l.id, a.name)
			l.reset()
		}
	}
}

// killPod ends one pod from outside.
func (w *world) killPod() {
	h := w.hosts[w.l.rng.IntN(len(w.hosts))]
	ids := sortedKeys(h.pods)
	if len(ids) == 0 {
		return
	}
	w.note("kill-pod")
	id := ids[w.l.rng.IntN(len(ids))]
	w.hist.add(h.name, []string{id}, "host: pod %s is killed", id)
	h.pods[id].die()
}

// drain takes an agent out of service and puts it back, as an operator does.
func (w *world) drain(a *agentProc) {
	name := fmt.Sprintf("drain-%s-%d", a.name, w.requests+w.calls)
	w.note("drain-agent")
	deadline := w.l.between(time.Second, 30*time.Second)
	w.ask(name, func(ctx context.Context, k *control) error {
		_, err := k.DrainAgent(ctx, engine.DrainRequest{RequestID: name, Agent: a.name, Deadline: deadline, By: "ada", Reason: "simulated"})
		return err
	}, func() {
		w.l.after(w.l.between(0, 20*time.Second), func() {
			w.ask("resume-"+name, func(ctx context.Context, k *control) error {
				_, err := k.ResumeAgent(ctx, a.name)
				return err
			}, func() {})
		})
	})
}

// ask makes a call that must be answered in the end. An agent that nobody knows yet is no reason to wait.
func (w *world) ask(name string, do func(context.Context, *control) error, done func()) {
	w.unanswered[name] = true
	(&request{w: w, name: name, do: func(ctx context.Context, k *control, _ int) error {
		err := do(ctx, k)
		if rpcerr.ReasonOf(err) == rpcerr.NotFound {
			return nil
		}
		return err
	}, done: func() {
		delete(w.unanswered, name)
		w.hist.add("cli", nil, "%s is done", name)
		done()
	}}).try()
}

// heal ends every fault: what follows must come to its end.
func (w *world) heal() {
	w.hist.add("net", nil, "no faults from here on")
	w.store.faults, w.net.faults = 0, 0
	for _, h := range w.hosts {
		h.sick = 0
	}
	w.endOutage()
	for _, c := range w.coordinators {
		w.joinStore(c)
		for _, a := range w.agents {
			w.join(pair(a.node, c.node))
		}
		w.resumeNode(c.node, c.node.life)
		if !c.stopping {
			w.bootCoordinator(c)
		}
	}
	for _, a := range w.agents {
		w.resumeNode(a.node, a.node.life)
		w.bootAgent(a)
	}
	w.isHealed, w.healed = true, w.l.now
	// What was in flight ends first.
	w.l.after(time.Minute, func() { w.check.waits.calm = true })
}
