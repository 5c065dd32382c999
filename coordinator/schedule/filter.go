package schedule

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Predicate names a filter.
type Predicate string

// The filters, in the order in which they are asked.
const (
	Pool Predicate = "pool"
	// Isolated and Runtime: the host can't do what the pool's policy asks for.
	Isolated Predicate = "isolation"
	Runtime  Predicate = "runtime"
	Labels   Predicate = "labels"
	Size     Predicate = "size"
	Drain    Predicate = "drain"
	Online   Predicate = "online"
	Avoid    Predicate = "avoid"
	// Disk: less is free than the watermark.
	Disk Predicate = "disk"
	// Kept: the agent is kept free for a job that has waited for long.
	Kept   Predicate = "kept"
	Slots  Predicate = "slots"
	CPU    Predicate = "cpu"
	Memory Predicate = "memory"
)

// Refusal says why one agent can't take a job.
type Refusal struct {
	Agent     string
	Predicate Predicate
	// Reason in words, the rest of a sentence about the agent.
	Reason string
}

// filter refuses an agent for a job; why is asked only if it does.
type filter struct {
	name    Predicate
	refuses func(p *planner, a *Agent, j *Job) bool
	why     func(p *planner, a *Agent, j *Job) string
}

var filters = []filter{
	{Pool, func(_ *planner, a *Agent, j *Job) bool { return len(j.Pools) > 0 && !slices.Contains(j.Pools, a.Pool) },
		func(_ *planner, a *Agent, j *Job) string {
			return fmt.Sprintf("is in pool %q, the job needs %s", a.Pool, strings.Join(j.Pools, " or "))
		}},
	// Of an agent that is away, that it is away is the better answer: what it can do may have changed when it comes back.
	{Isolated, func(p *planner, a *Agent, _ *Job) bool {
		return a.Online && !able(a.Abilities.Isolation, p.Policies[a.Pool].Isolation)
	}, func(p *planner, a *Agent, _ *Job) string {
		want := p.Policies[a.Pool].Isolation
		return fmt.Sprintf("can't run jobs as its pool %q asks, %s: %s", a.Pool, want, unable(a.Abilities.Isolation, want))
	}},
	{Runtime, func(p *planner, a *Agent, _ *Job) bool {
		return a.Online && !able(a.Abilities.Runtimes, p.Policies[a.Pool].Runtime)
	}, func(p *planner, a *Agent, _ *Job) string {
		want := p.Policies[a.Pool].Runtime
		return fmt.Sprintf("has no runtime %s, which its pool %q asks for: %s", want, a.Pool, unable(a.Abilities.Runtimes, want))
	}},
	{Labels, func(_ *planner, a *Agent, j *Job) bool { return !has(a.Labels, j.Labels) },
		func(_ *planner, a *Agent, j *Job) string {
			return "lacks the label " + strings.Join(lacking(a.Labels, j.Labels), ", ")
		}},
	{Size, func(_ *planner, a *Agent, j *Job) bool {
		return tooSmall(a.CPUMilli, j.CPUMilli) || tooSmall(a.Memory, j.Memory)
	},
		func(_ *planner, a *Agent, j *Job) string {
			if tooSmall(a.CPUMilli, j.CPUMilli) {
				return fmt.Sprintf("has %s CPUs in all, the job reserves %s", milli(a.CPUMilli), milli(j.CPUMilli))
			}
			return fmt.Sprintf("has %s of memory in all, the job reserves %s", mib(a.Memory), mib(j.Memory))
		}},
	{Drain, func(_ *planner, a *Agent, _ *Job) bool { return a.Drain != "" }, func(_ *planner, a *Agent, _ *Job) string { return a.Drain }},
	{Online, func(_ *planner, a *Agent, _ *Job) bool { return !a.Online }, func(*planner, *Agent, *Job) string { return "is not connected" }},
	{Avoid, func(_ *planner, a *Agent, j *Job) bool { _, is := j.Avoid[a.ID]; return is },
		func(_ *planner, a *Agent, j *Job) string { return j.Avoid[a.ID] }},
	{Disk, func(p *planner, a *Agent, _ *Job) bool { return a.DiskFree > 0 && a.DiskFree < p.MinDiskFree },
		func(p *planner, a *Agent, _ *Job) string {
			return fmt.Sprintf("has %s of disk free, less than the %s that it must have to be given work", mib(a.DiskFree), mib(p.MinDiskFree))
		}},
	// A job may have what is kept for it.
	{Kept, func(p *planner, a *Agent, j *Job) bool {
		k := p.kept[a.ID]
		return k != nil && (k.Run != j.Run || k.Job != j.Job)
	},
		func(p *planner, a *Agent, _ *Job) string {
			j := p.kept[a.ID]
			return fmt.Sprintf("is kept free for the larger job %s of project %s, which has waited for %v", j.Job, j.Project,
				(time.Duration(p.NowMs-j.QueuedMs) * time.Millisecond).Truncate(time.Second))
		}},
	{Slots, func(_ *planner, a *Agent, _ *Job) bool { return a.UsedSlots >= a.Slots },
		func(_ *planner, a *Agent, _ *Job) string {
			return fmt.Sprintf("has all of its %d slots in use", a.Slots)
		}},
	{CPU, func(_ *planner, a *Agent, j *Job) bool { return a.CPUMilli > 0 && j.CPUMilli > a.CPUMilli-a.UsedCPU },
		func(_ *planner, a *Agent, j *Job) string {
			return fmt.Sprintf("has %s of %s CPUs left, the job reserves %s", milli(a.CPUMilli-a.UsedCPU), milli(a.CPUMilli), milli(j.CPUMilli))
		}},
	{Memory, func(_ *planner, a *Agent, j *Job) bool { return a.Memory > 0 && j.Memory > a.Memory-a.UsedMem },
		func(_ *planner, a *Agent, j *Job) string {
			return fmt.Sprintf("has %s of %s of memory left, the job reserves %s", mib(a.Memory-a.UsedMem), mib(a.Memory), mib(j.Memory))
		}},
}

// refuses returns the first filter that refuses; nil takes the job.
func (p *planner) refuses(a *Agent, j *Job) *filter {
	for i := range filters {
		if filters[i].refuses(p, a, j) {
			return &filters[i]
		}
	}
	return nil
}

// roomOnly is whether the agent would take the job if it had less to do.
func (p *planner) roomOnly(a *Agent, j *Job) bool {
	f := p.refuses(a, j)
	return f != nil && (f.name == Slots && a.Slots > 0 || f.name == CPU || f.name == Memory)
}

// all returns every refusal of an agent.
func (p *planner) all(a *Agent, j *Job) []Refusal {
	var out []Refusal
	for _, f := range filters {
		if f.refuses(p, a, j) {
			out = append(out, Refusal{Agent: a.ID, Predicate: f.name, Reason: f.why(p, a, j)})
		}
	}
	return out
}

// able says whether an agent can do what has this name.
func able(abilities map[string]string, name string) bool {
	if name == "" {
		return true
	}
	why, known := abilities[name]
	return known && why == ""
}

// unable says why not.
func unable(abilities map[string]string, name string) string {
	why, known := abilities[name]
	if !known {
		return "it does not know it; its version or its configuration is older than the pool's policy"
	}
	return why
}

func has(have, want []string) bool {
	for _, w := range want {
		if !slices.Contains(have, w) {
			return false
		}
	}
	return true
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

// tooSmall: a total of 0 is unknown.
func tooSmall(total, want int64) bool { return total > 0 && want > total }

func milli(n int64) string { return fmt.Sprintf("%g", float64(n)/1000) }

func mib(n int64) string { return fmt.Sprintf("%d MiB", n>>20) }
