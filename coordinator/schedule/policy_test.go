package schedule

import (
	"strings"
	"testing"
)

// TestAPoolsPolicyIsExplained: an agent that can't do what its pool asks for is refused, with its own words; another pool's policy is not its.
func TestAPoolsPolicyIsExplained(t *testing.T) {
	able, unable, old := agent("able", 2), agent("unable", 2), agent("old", 2)
	for _, a := range []*Agent{&able, &unable, &old} {
		a.Pool = "forks"
	}
	able.Abilities = Abilities{Isolation: map[string]string{"untrusted": ""}, Runtimes: map[string]string{"crun": ""}}
	unable.Abilities = Abilities{Isolation: map[string]string{"untrusted": "no user namespaces: the kernel has none"}, Runtimes: map[string]string{"crun": "crun is not there"}}
	policies := map[string]Policy{"forks": {Isolation: "untrusted", Runtime: "crun"}, "default": {Runtime: "kata"}}
	j := job("p", "1", 1)
	j.Pools = []string{"forks"}
	r := Plan(Snapshot{Agents: fleet(able, unable, old), Queue: NewQueue(0, j), Policies: policies})
	if placed(r) != "p/1@able" {
		t.Fatalf("%+v", r)
	}
	r = Plan(Snapshot{Agents: fleet(unable, old), Queue: NewQueue(0, j), Policies: policies})
	if len(r.Waiting) != 1 || len(r.Explain(r.Waiting[0].First).Refusals) != 2 {
		t.Fatalf("%+v", r)
	}
	for _, no := range r.Explain(r.Waiting[0].First).Refusals {
		want := map[string]string{"unable": "untrusted: no user namespaces: the kernel has none", "old": "it does not know it"}[no.Agent]
		if no.Predicate != Isolated || !strings.Contains(no.Reason, want) {
			t.Errorf("%+v, want %q", no, want)
		}
	}
	policies["forks"] = Policy{Runtime: "crun"}
	r = Plan(Snapshot{Agents: fleet(unable), Queue: NewQueue(0, j), Policies: policies})
	if got := r.Explain(r.Waiting[0].First).Summary; r.Explain(r.Waiting[0].First).Refusals[0].Predicate != Runtime ||
		!strings.Contains(got, `agent unable has no runtime crun, which its pool "forks" asks for: crun is not there`) {
		t.Error(got)
	}
	delete(policies, "forks")
	if r = Plan(Snapshot{Agents: fleet(old), Queue: NewQueue(0, j), Policies: policies}); placed(r) != "p/1@old" {
		t.Errorf("a pool that asks for nothing: %+v", r)
	}
}
