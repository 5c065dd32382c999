package schedule

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Queue keeps the jobs that want an agent in order, by project and by what they ask for (their class), so that a plan looks at the first of each
// and not at all of them. Not safe for concurrent use; the zero Queue is not usable.
type Queue struct {
	ageingMs int64
	projects map[string]map[string]*line
	jobs     map[jobKey]*queued
}

type jobKey struct{ run, job string }

// line holds a project's jobs of one class, the first first.
type line struct {
	project, class string
	jobs           []*queued
}

type queued struct {
	Job
	rank  int64
	class string
}

// NewQueue returns a queue with these jobs. ageingMs is how long a wait a unit of priority is worth.
func NewQueue(ageingMs int64, jobs ...Job) *Queue {
	q := &Queue{ageingMs: ageingMs, projects: map[string]map[string]*line{}, jobs: map[jobKey]*queued{}}
	for _, j := range jobs {
		q.Put(j)
	}
	return q
}

// Len is the number of jobs.
func (q *Queue) Len() int { return len(q.jobs) }

// Put adds a job, or replaces the one of the same run and id. The queue keeps the job's slices and map.
func (q *Queue) Put(j Job) {
	q.Remove(j.Run, j.Job)
	e := &queued{Job: j, rank: j.Rank(q.ageingMs), class: classOf(j)}
	q.jobs[jobKey{j.Run, j.Job}] = e
	lines := q.projects[j.Project]
	if lines == nil {
		lines = map[string]*line{}
		q.projects[j.Project] = lines
	}
	l := lines[e.class]
	if l == nil {
		l = &line{project: j.Project, class: e.class}
		lines[e.class] = l
	}
	at, _ := slices.BinarySearchFunc(l.jobs, e, inOrder)
	l.jobs = slices.Insert(l.jobs, at, e)
}

// Remove takes a job out; nothing happens if it is not there.
func (q *Queue) Remove(run, job string) {
	e := q.jobs[jobKey{run, job}]
	if e == nil {
		return
	}
	delete(q.jobs, jobKey{run, job})
	l := q.projects[e.Project][e.class]
	at, _ := slices.BinarySearchFunc(l.jobs, e, inOrder)
	if at == 0 {
		// The usual case, and without moving the rest.
		l.jobs[0] = nil
		l.jobs = l.jobs[1:]
	} else {
		l.jobs = slices.Delete(l.jobs, at, at+1)
	}
	if len(l.jobs) > 0 {
		return
	}
	delete(q.projects[e.Project], e.class)
	if len(q.projects[e.Project]) == 0 {
		delete(q.projects, e.Project)
	}
}

// Job returns a job; false if it is not queued.
func (q *Queue) Job(run, job string) (Job, bool) {
	e := q.jobs[jobKey{run, job}]
	if e == nil {
		return Job{}, false
	}
	return e.Job, true
}

func inOrder(a, b *queued) int {
	return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.QueuedMs, b.QueuedMs), strings.Compare(a.Run, b.Run), cmp.Compare(a.Order, b.Order),
		strings.Compare(a.Job.Job, b.Job.Job))
}

// Demand is what the queued jobs ask for that may run in the same pools and want the same labels.
type Demand struct {
	// Pools, any of which would do; empty is any pool.
	Pools, Labels []string
	Jobs          int
	// CPUMilli and Memory (bytes) are sums, Max* those of the largest job.
	CPUMilli, Memory       int64
	MaxCPUMilli, MaxMemory int64
	// OldestMs is when the one was queued that waits longest.
	OldestMs int64
}

// Demand sums up the queue, by pools, then by labels.
func (q *Queue) Demand() []Demand {
	sums := map[string]*Demand{}
	for _, lines := range q.projects {
		for _, l := range lines {
			first := l.jobs[0]
			d := sums[first.place()]
			if d == nil {
				d = &Demand{Pools: first.Pools, Labels: first.Labels, OldestMs: first.QueuedMs}
				sums[first.place()] = d
			}
			n := int64(len(l.jobs))
			d.Jobs += len(l.jobs)
			d.CPUMilli += n * first.CPUMilli
			d.Memory += n * first.Memory
			d.MaxCPUMilli, d.MaxMemory = max(d.MaxCPUMilli, first.CPUMilli), max(d.MaxMemory, first.Memory)
			d.OldestMs = min(d.OldestMs, l.oldest())
		}
	}
	out := make([]Demand, 0, len(sums))
	for _, d := range sums {
		out = append(out, *d)
	}
	slices.SortFunc(out, func(a, b Demand) int {
		return cmp.Or(slices.Compare(a.Pools, b.Pools), slices.Compare(a.Labels, b.Labels))
	})
	return out
}

// oldest looks no further than where a priority may have let a younger job pass: without priorities the first is the oldest.
func (l *line) oldest() int64 {
	oldest := l.jobs[0].QueuedMs
	for _, j := range l.jobs {
		oldest = min(oldest, j.QueuedMs)
		if j.Priority == 0 && j.QueuedMs >= oldest {
			break
		}
	}
	return oldest
}

func (j *Job) place() string { return fmt.Sprintf("%q %q", j.Pools, j.Labels) }

// classOf is equal for jobs that ask for the same.
func classOf(j Job) string {
	avoid := make([]string, 0, len(j.Avoid))
	for a, why := range j.Avoid {
		avoid = append(avoid, a+"="+why)
	}
	slices.Sort(avoid)
	return fmt.Sprintf("%q %q %d %d %q", j.Pools, j.Labels, j.CPUMilli, j.Memory, avoid)
}
