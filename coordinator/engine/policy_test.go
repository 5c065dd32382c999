package engine

import (
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/coordinator/config"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

// pools configures the engine, on its own goroutine.
func (r *rig) pools(p map[string]config.Pool) {
	r.t.Helper()
	if err := r.ask(r.ctx(), func(reply func(error)) { r.c.Pools = p; reply(nil) }); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) agentThatCan(name string, abilities *fleetv1.Abilities) *fakeAgent {
	r.t.Helper()
	a := &fakeAgent{r: r, id: name, slots: 1, seq: map[string]uint64{}, tokens: map[string]string{}, arrived: make(chan struct{}, 1), session: r.ids.New()}
	if _, err := r.Connect(r.ctx(), Session{ID: a.session, AgentID: a.id, Hostname: a.id, Pool: "default", Capacity: &fleetv1.Capacity{Slots: 1}, Abilities: abilities}, a); err != nil {
		r.t.Fatal(err)
	}
	return a
}

// TestAPoolsPolicyGoesWithTheAssignment: from the configuration; and decides what the attempt's token is good for.
func TestAPoolsPolicyGoesWithTheAssignment(t *testing.T) {
	for isolation, secrets := range map[string]bool{"": true, config.IsolationDefault: true, config.IsolationUntrusted: false} {
		r := newRig(t)
		r.pools(map[string]config.Pool{"default": {Isolation: isolation, Runtime: "crun"}})
		a := r.agentThatCan("a1", &fleetv1.Abilities{Isolation: map[string]string{"untrusted": ""}, Runtimes: map[string]string{"crun": ""}})
		r.submit(plan(job("build")))
		as := a.offer()
		p := as.GetPolicy()
		if p.GetIsolation() != isolation || p.GetRuntime() != "crun" || p.GetNoSecrets() == secrets || (p.GetCacheScope() == "") != secrets {
			t.Errorf("%q: policy %v", isolation, p)
		}
		ref, err := r.Attempt(r.ctx(), "a1", as.GetAttemptId(), as.GetToken())
		if err != nil || ref.Secrets != secrets {
			t.Errorf("%q: %+v, %v", isolation, ref, err)
		}
	}
}

// TestAnAgentThatCanNotIsNotAsked: and the run says why.
func TestAnAgentThatCanNotIsNotAsked(t *testing.T) {
	r := newRig(t)
	r.pools(map[string]config.Pool{"default": {Isolation: config.IsolationUntrusted}})
	r.agentThatCan("a1", &fleetv1.Abilities{Isolation: map[string]string{"untrusted": "no user namespaces: none here" + strings.Repeat("!", 10*maxReason)}})
	run := r.submit(plan(job("build")))
	r.settle()
	if why := r.run(run).GetJobs()[0].GetReason(); !strings.Contains(why, "agent a1 can't run jobs as its pool \"default\" asks, untrusted: no user namespaces: none here!") || len(why) > 2*maxReason {
		t.Errorf("it waits because %q", why)
	}
	if said := boundAbilities(make(map[string]string)); len(said) != 0 {
		t.Errorf("%v", said)
	}
}
