package images

import planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"

// Pools says which pool each label of the plan's `runs-on` means here; labels that an expression gives are left out.
func (p *Planner) Pools(plan *planv1.Plan) map[string]string {
	out := map[string]string{}
	for _, j := range plan.GetJobs() {
		for _, v := range j.GetRunsOn() {
			if r, ok := p.runners[v.GetLiteral()]; ok && r.Pool != "" {
				out[v.GetLiteral()] = r.Pool
			}
		}
	}
	return out
}
