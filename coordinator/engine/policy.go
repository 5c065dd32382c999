package engine

import (
	"github.com/slipway-ci/slipway/coordinator/config"
	"github.com/slipway-ci/slipway/coordinator/schedule"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

// Bounds of what an agent says of its abilities; what is beyond is not kept.
const (
	maxAbilities = 64
	maxReason    = 512
)

// policies are what the pools ask of agents. What every agent can do asks for nothing, so that older ones are not refused.
func policies(pools map[string]config.Pool) map[string]schedule.Policy {
	out := make(map[string]schedule.Policy, len(pools))
	for name, p := range pools {
		want := schedule.Policy{Runtime: p.Runtime}
		if p.Untrusted() {
			want.Isolation = p.Isolation
		}
		if want != (schedule.Policy{}) {
			out[name] = want
		}
	}
	return out
}

// assignmentPolicy is what an agent of the pool is told.
func (e *Engine) assignmentPolicy(pool string) *fleetv1.PoolPolicy {
	p := e.c.Pools[pool]
	return &fleetv1.PoolPolicy{Isolation: p.Isolation, Runtime: p.Runtime, NoSecrets: !p.Secrets(), CacheScope: p.CacheScope(pool), HostPaths: p.HostPaths}
}

func abilitiesOf(s *Session) schedule.Abilities {
	if s == nil {
		return schedule.Abilities{}
	}
	return schedule.Abilities{Isolation: boundAbilities(s.Abilities.GetIsolation()), Runtimes: boundAbilities(s.Abilities.GetRuntimes())}
}

func boundAbilities(said map[string]string) map[string]string {
	if len(said) > maxAbilities {
		return nil // nothing that works says so much
	}
	out := make(map[string]string, len(said))
	for name, why := range said {
		out[name] = why[:min(len(why), maxReason)]
	}
	return out
}
