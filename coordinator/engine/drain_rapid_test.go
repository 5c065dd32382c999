package engine

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// drainWorld is a small fleet under drains, with what its agents have.
type drainWorld struct {
	*rig
	rt     *rapid.T
	agents []*fakeAgent
	// has is each agent's attempts, in order; evicted those that it was told to cancel. drained agents may be given nothing.
	has     map[string][]string
	evicted map[string]bool
	drained map[string]bool
	gone    map[string]bool
	runs    []string
}

// hear takes what every agent was told since.
func (w *drainWorld) hear() {
	w.settle()
	for _, a := range w.agents {
		a.mu.Lock()
		got := a.got
		a.got = nil
		a.mu.Unlock()
		for _, m := range got {
			w.heard(a, m)
		}
	}
}

func (w *drainWorld) heard(a *fakeAgent, m *fleetv1.SessionResponse) {
	switch {
	case m.GetOffer() != nil:
		id := m.GetOffer().GetAssignment().GetAttemptId()
		if w.drained[a.id] || w.gone[a.id] {
			w.rt.Fatalf("agent %s is drained or gone and was offered %s", a.id, id)
		}
		w.has[a.id] = append(w.has[a.id], id)
		a.accept(id)
	case m.GetCancel() != nil:
		w.evicted[m.GetCancel().GetAttemptId()] = true
	case m.GetKill() != nil:
		id := m.GetKill().GetAttemptId()
		w.has[a.id] = slices.DeleteFunc(w.has[a.id], func(other string) bool { return other == id })
	}
}

// end reports an attempt's result: cancelled if its agent was told to, else a success.
func (w *drainWorld) end(a *fakeAgent, id string) {
	res := success
	if w.evicted[id] {
		res = cancelled
	}
	a.finish(id, res)
	w.has[a.id] = slices.DeleteFunc(w.has[a.id], func(other string) bool { return other == id })
}

func (w *drainWorld) pick() *fakeAgent {
	var left []*fakeAgent
	for _, a := range w.agents {
		if !w.gone[a.id] {
			left = append(left, a)
		}
	}
	if len(left) == 0 {
		return nil
	}
	return rapid.SampledFrom(left).Draw(w.rt, "agent")
}

func (w *drainWorld) step(n int) {
	a := w.pick()
	if a == nil {
		return
	}
	switch rapid.SampledFrom([]string{"submit", "submit", "drain", "resume", "begin", "end", "time", "reconnect", "leader", "remove"}).Draw(w.rt, "step") {
	case "submit":
		j := job(fmt.Sprintf("j%d", n))
		if rapid.Bool().Draw(w.rt, "may be moved") {
			j.Retry = &planv1.Retry{Attempts: 50, On: []string{"lost"}}
		}
		w.runs = append(w.runs, w.submit(plan(j)))
	case "drain":
		w.hear() // what was offered before is no breach
		w.drain(a.id, time.Duration(rapid.IntRange(0, 3).Draw(w.rt, "deadline"))*time.Second, "")
		w.hear()
		w.drained[a.id] = true
	case "resume":
		w.drained[a.id] = false
		if _, err := w.ResumeAgent(w.ctx(), a.id); err != nil {
			w.rt.Fatal(err)
		}
	case "begin":
		for _, id := range w.has[a.id] {
			if a.seq[id] == 0 {
				a.running(id)
			}
		}
	case "end":
		if len(w.has[a.id]) > 0 {
			w.end(a, w.has[a.id][0])
		}
	case "time":
		w.rig.advance(2*time.Second, w.agents...)
	case "reconnect":
		w.connectAgain(a)
	case "leader":
		w.hear()
		w.restart()
		for _, a := range w.agents {
			if !w.gone[a.id] {
				w.connectAgain(a)
			}
		}
	case "remove":
		if rapid.IntRange(0, 4).Draw(w.rt, "really") > 0 {
			return
		}
		w.hear()
		if _, err := w.RemoveAgent(w.ctx(), RemoveRequest{RequestID: w.ids.New(), Agent: a.id, By: "ada", Force: true}); err != nil {
			w.rt.Fatal(err)
		}
		w.hear()
		w.gone[a.id], w.has[a.id] = true, nil
	}
	w.hear()
}

func (w *drainWorld) connectAgain(a *fakeAgent) {
	w.hear()
	live := a.connect(w.has[a.id]...)
	w.has[a.id] = slices.DeleteFunc(w.has[a.id], func(id string) bool { return !slices.Contains(live, id) })
}

// TestDrainsUnderEverything: whatever happens, a drained or removed agent is offered nothing, and once one agent takes work every run ends.
func TestDrainsUnderEverything(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		w := &drainWorld{rig: newRig(t), rt: rt, has: map[string][]string{}, evicted: map[string]bool{}, drained: map[string]bool{}, gone: map[string]bool{}}
		defer w.Engine.Close()
		for i := range rapid.IntRange(1, 3).Draw(rt, "agents") {
			w.agents = append(w.agents, w.rig.agent(fmt.Sprintf("agent%d", i), 2))
		}
		for n := range rapid.IntRange(5, 40).Draw(rt, "steps") {
			w.step(n)
		}
		// A last agent takes what is left.
		last := w.rig.agent("last", 50)
		w.agents = append(w.agents, last)
		for round := 0; ; round++ {
			w.hear()
			left := 0
			for _, a := range w.agents {
				for _, id := range slices.Clone(w.has[a.id]) {
					left++
					w.end(a, id)
				}
			}
			w.settle()
			if left == 0 && last.offers() == 0 {
				break
			}
			if round == 100 {
				rt.Fatal("it never ends")
			}
		}
		for _, id := range w.runs {
			if s := w.run(id).GetState(); s < corev1.RunState_RUN_STATE_SUCCEEDED {
				rt.Fatalf("run %s is %s: %v", id, s, w.run(id).GetJobs())
			}
		}
		for _, a := range w.agents {
			if !w.gone[a.id] && len(w.rig.show(a.id).GetWork()) != 0 {
				rt.Fatalf("agent %s holds %v", a.id, w.rig.show(a.id).GetWork())
			}
		}
	})
}
