package podspec

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/pipeline/dockeropts"
	"github.com/slipway-ci/slipway/pipeline/expr"
	"github.com/slipway-ci/slipway/pipeline/resolve"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// volumes turns a job's `volumes` into mounts. A name means the same volume in all of the job's containers.
type volumes struct {
	policy    *fleetv1.PoolPolicy
	anonymous int
}

func (v *volumes) mounts(c *planv1.Container, env *expr.Env) ([]sandbox.Mount, error) {
	texts, err := resolve.Strings(c.GetVolumes(), env)
	if err != nil {
		return nil, fmt.Errorf("volumes: %w", err)
	}
	var out []sandbox.Mount
	for _, text := range texts {
		parsed, err := dockeropts.ParseVolume(text)
		if err != nil {
			return nil, fmt.Errorf("volumes: %w", err)
		}
		for _, other := range out {
			if other.Target == parsed.Target {
				return nil, fmt.Errorf("volumes: two are mounted at %s", parsed.Target)
			}
		}
		m := sandbox.Mount{Target: parsed.Target, ReadOnly: parsed.ReadOnly, Source: parsed.Host, Volume: parsed.Name, Host: parsed.Host != ""}
		switch {
		case parsed.Host != "":
			if !slices.Contains(v.policy.GetHostPaths(), parsed.Host) {
				return nil, fmt.Errorf("volumes: %s: the policy of the agent's pool does not let jobs mount %s of its host; whoever runs the coordinator can allow this very path "+
					"(`pools:` NAME `host_paths:`), and a named volume (name:%s) needs no leave", text, parsed.Host, parsed.Target)
			}
		case parsed.Name == "":
			m.Volume = "_" + strconv.Itoa(v.anonymous) // no name in a file begins so
			v.anonymous++
		}
		out = append(out, m)
	}
	return out, nil
}
