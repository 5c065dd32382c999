package schedule

import "maps"

// Shares is what the projects have had, as start-time fair queueing counts it. Each project has a tag: the virtual time at which its next job
// starts. A job moves its project's tag on by its length over the project's weight; the project with the lowest tag is next. The virtual clock
// is what the project of the latest job to start had had by then, and a project that comes back from having nothing to run begins there: what it did not use is
// not kept for later, so that whoever comes with 10,000 jobs has no more than a turn in advance of another's single one.
//
// How long a job will be is not known when it starts: it is charged the mean of late, and the difference when it ends. A plan has it
// in its snapshot and returns what it becomes; the zero Shares is that of a new leader. Times are milliseconds × 1000 over the weight.
type Shares struct {
	clock  int64
	meanMs int64
	tags   map[string]int64
	// held is what of a tag is for jobs that have not ended.
	held map[string]int64
	// queued are the projects that had jobs left after the last plan.
	queued map[string]bool
}

const (
	firstMeanMs = 10_000
	// meanOver: how many jobs the mean is of, about.
	meanOver = 16
	// longestMs bounds what one job can do to the mean and to its project: six hours, as the default of a job's time-out.
	longestMs = 6 * 60 * 60 * 1000
	scale     = 1000
	// mostBehind: a project whose jobs fitted nowhere for a while makes up for at most so many mean jobs.
	mostBehind = 4
)

func (s Shares) mean() int64 {
	if s.meanMs == 0 {
		return firstMeanMs
	}
	return s.meanMs
}

func (s Shares) clone() Shares {
	s.tags, s.held, s.queued = maps.Clone(s.tags), maps.Clone(s.held), maps.Clone(s.queued)
	if s.tags == nil {
		s.tags, s.held, s.queued = map[string]int64{}, map[string]int64{}, map[string]bool{}
	}
	return s
}

// arrive is for a project with jobs in the queue. One that had none starts at the clock, or, if it had much lately, after at most one job of the
// project with the heaviest weight: else a chain of jobs, one at a time, would always be first.
func (s *Shares) arrive(project string, heaviest int64) {
	tag, known := s.tags[project]
	switch {
	case !known:
		tag = s.clock
	case !s.queued[project]:
		tag = min(max(tag, s.clock), s.clock+s.mean()*scale/heaviest)
	}
	s.tags[project] = max(tag, s.clock-mostBehind*s.mean()*scale)
	s.queued[project] = true
}

// start charges a project for a job.
func (s *Shares) start(project string, weight int64) (charge int64) {
	tag := s.tags[project]
	// What it was charged for jobs that have not ended is not had yet. Were it counted here, a project that comes now would have to wait for all that
	// the others are charged too much.
	s.clock = max(s.clock, tag-s.held[project])
	charge = s.mean()
	s.tags[project] = tag + charge*scale/weight
	s.held[project] += charge * scale / weight
	return charge
}

// settle forgets that projects were queued whose last job was placed, and tags that say nothing any more.
func (s *Shares) settle(flows []*flow) {
	left := map[string]bool{}
	for _, f := range flows {
		for _, l := range f.lanes {
			if l.at < len(l.jobs) {
				left[f.name] = true
			}
		}
	}
	s.queued = left
	for project, tag := range s.tags {
		if !left[project] && tag <= s.clock && s.held[project] == 0 {
			delete(s.tags, project)
		}
	}
}

// End corrects what a project was charged for a job that ran for actualMs of its slot; 0 for one that never began there.
func (s *Shares) End(project string, p Project, charge, actualMs int64) {
	*s = s.clone()
	actualMs = min(max(actualMs, 0), longestMs)
	tag, known := s.tags[project]
	if !known {
		tag = s.clock
	}
	s.tags[project] = tag + (actualMs-charge)*scale/p.weight()
	if s.held[project] -= charge * scale / p.weight(); s.held[project] <= 0 {
		delete(s.held, project)
	}
	if actualMs > 0 {
		s.meanMs = max(s.mean()+(actualMs-s.mean())/meanOver, 1)
	}
}
