package schedule

import (
	"fmt"
	"slices"
	"strings"
)

// refuse asks the filters in order and returns the first refusal; nil takes the job.
func (p *planner) refuse(a *Agent, j Job) *Refusal {
	no := func(pred Predicate, format string, args ...any) *Refusal {
		return &Refusal{Agent: a.ID, Predicate: pred, Reason: fmt.Sprintf(format, args...)}
	}
	if len(j.Pools) > 0 && !slices.Contains(j.Pools, a.Pool) {
		return no(Pool, "is in pool %q, the job needs %s", a.Pool, strings.Join(j.Pools, " or "))
	}
	// Of an agent that is away, that it is away is the better answer: what it can do may have changed when it comes back.
	if policy := p.policies[a.Pool]; a.Online {
		if why, can := able(a.Abilities.Isolation, policy.Isolation); !can {
			return no(Isolated, "can't run jobs as its pool %q asks, %s: %s", a.Pool, policy.Isolation, why)
		}
		if why, can := able(a.Abilities.Runtimes, policy.Runtime); !can {
			return no(Runtime, "has no runtime %s, which its pool %q asks for: %s", policy.Runtime, a.Pool, why)
		}
	}
	if missing := lacking(a.Labels, j.Labels); len(missing) > 0 {
		return no(Labels, "lacks the label %s", strings.Join(missing, ", "))
	}
	if a.CPUMilli > 0 && j.CPUMilli > a.CPUMilli {
		return no(Size, "has %s CPUs in all, the job reserves %s", milli(a.CPUMilli), milli(j.CPUMilli))
	}
	if a.Memory > 0 && j.Memory > a.Memory {
		return no(Size, "has %s of memory in all, the job reserves %s", mib(a.Memory), mib(j.Memory))
	}
	if a.Drain != "" {
		return no(Drain, "%s", a.Drain)
	}
	if !a.Online {
		return no(Online, "is not connected")
	}
	if why, ok := j.Avoid[a.ID]; ok {
		return no(Avoid, "%s", why)
	}
	if a.UsedSlots >= a.Slots {
		return no(Slots, "has all of its %d slots in use", a.Slots)
	}
	if a.CPUMilli > 0 && j.CPUMilli > a.CPUMilli-a.UsedCPU {
		return no(CPU, "has %s of %s CPUs left, the job reserves %s", milli(a.CPUMilli-a.UsedCPU), milli(a.CPUMilli), milli(j.CPUMilli))
	}
	if a.Memory > 0 && j.Memory > a.Memory-a.UsedMem {
		return no(Memory, "has %s of %s of memory left, the job reserves %s", mib(a.Memory-a.UsedMem), mib(a.Memory), mib(j.Memory))
	}
	return nil
}

// able says whether an agent can do what has this name, or why not.
func able(abilities map[string]string, name string) (why string, can bool) {
	if name == "" {
		return "", true
	}
	why, known := abilities[name]
	if !known {
		return "it does not know it; its version or its configuration is older than the pool's policy", false
	}
	return why, why == ""
}

func lacking(have, want []string) []string {
	var out []string
	for _, w := range want {
		if !slices.Contains(have, w) {
			out = append(out, w)
		}
	}
	return out
}

func milli(n int64) string { return fmt.Sprintf("%g", float64(n)/1000) }

func mib(n int64) string { return fmt.Sprintf("%d MiB", n>>20) }

// explain says of each job left why no agent takes it, as things stand after the placements.
func (p *planner) explain(left []Job) []Waiting {
	type verdict struct {
		refusals []Refusal
		summary  string
	}
	byClass := map[string]verdict{}
	out := make([]Waiting, 0, len(left))
	for _, j := range left {
		class := classOf(j)
		v, ok := byClass[class]
		if !ok {
			for _, a := range p.agents {
				if r := p.refuse(a, j); r != nil {
					v.refusals = append(v.refusals, *r)
				}
			}
			v.summary = summarise(v.refusals)
			byClass[class] = v
		}
		out = append(out, Waiting{Job: j, Refusals: v.refusals, Summary: v.summary})
	}
	return out
}

// summarise groups refusals that read the same; at most three groups are spelled out.
func summarise(rs []Refusal) string {
	if len(rs) == 0 {
		return "no agent has joined yet"
	}
	var order []string
	agents := map[string][]string{}
	for _, r := range rs {
		if agents[r.Reason] == nil {
			order = append(order, r.Reason)
		}
		agents[r.Reason] = append(agents[r.Reason], r.Agent)
	}
	slices.SortStableFunc(order, func(a, b string) int { return len(agents[b]) - len(agents[a]) })
	var parts []string
	for i, reason := range order {
		if i == 3 {
			parts = append(parts, fmt.Sprintf("%d other reasons", len(order)-3))
			break
		}
		who := "agent " + agents[reason][0]
		if n := len(agents[reason]); n > 1 {
			who = fmt.Sprintf("each of %d agents", n)
		}
		parts = append(parts, who+" "+reason)
	}
	return "no agent can take it now: " + strings.Join(parts, "; ")
}
