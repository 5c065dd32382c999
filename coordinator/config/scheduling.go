package config

import (
	"path"
	"strconv"
	"time"
)

// Project is a project's part of the agents. One that the file does not name has weight 1 and no cap.
type Project struct {
	// Weight of its slot time against other projects' while both have jobs that wait; 0 is 1.
	Weight int64 `yaml:"weight"`
	// MaxRunning jobs at once; 0 is without a cap.
	MaxRunning int64 `yaml:"max_running"`
	// Retention of its finished runs, where that is another than that of all.
	Retention Keep `yaml:"retention"`
}

// Bounds of what Project and Priority may say.
const (
	MostWeight   = 1000
	MostPriority = 100
)

// Scheduling says in which order jobs are placed, and where none is.
type Scheduling struct {
	// Ageing is how long a wait one unit of priority is worth.
	Ageing Duration `yaml:"ageing"`
	// KeepAfter: a job whose turn it is and which has waited for so long has an agent kept free for it; 0s keeps none.
	KeepAfter Duration `yaml:"keep_after"`
	// MinDiskFree in bytes: an agent with less takes nothing; 0 asks for nothing.
	MinDiskFree int64 `yaml:"min_disk_free"`
	// Priorities of jobs inside their project: the first entry that fits decides; none is 0.
	Priorities []Priority `yaml:"priorities"`
}

// Priority fits a run if all that it says does. Patterns are as path.Match has them; "" fits everything.
type Priority struct {
	Project string `yaml:"project"`
	// Pipeline is the path of the workflow file.
	Pipeline string `yaml:"pipeline"`
	Event    string `yaml:"event"`
	// Priority from -MostPriority to MostPriority; higher is earlier.
	Priority int64 `yaml:"priority"`
}

// Priority of a run's jobs.
func (s Scheduling) Priority(project, pipeline, event string) int64 {
	for _, p := range s.Priorities {
		if matches(p.Project, project) && matches(p.Pipeline, pipeline) && matches(p.Event, event) {
			return p.Priority
		}
	}
	return 0
}

func matches(pattern, name string) bool {
	if pattern == "" {
		return true
	}
	ok, err := path.Match(pattern, name)
	return ok && err == nil
}

func (c Config) checkScheduling(add func(key []string, hint, format string, args ...any)) {
	for name, p := range c.Projects {
		if p.Weight < 0 || p.Weight > MostWeight {
			add([]string{"projects", name, "weight"}, "", "%d is not from 0 (which is 1) to %d", p.Weight, MostWeight)
		}
		if p.MaxRunning < 0 {
			add([]string{"projects", name, "max_running"}, "0 is without a cap", "%d is less than 0", p.MaxRunning)
		}
	}
	s := c.Scheduling
	if a := s.Ageing.Std(); a < time.Second || a > 24*time.Hour {
		add([]string{"scheduling", "ageing"}, "", "%v is not from 1s to 24h", a)
	}
	if s.KeepAfter < 0 {
		add([]string{"scheduling", "keep_after"}, "0s keeps no agent free", "%v is less than 0", s.KeepAfter.Std())
	}
	if s.MinDiskFree < 0 {
		add([]string{"scheduling", "min_disk_free"}, "0 asks for nothing", "%d is less than 0", s.MinDiskFree)
	}
	for i, p := range s.Priorities {
		at := []string{"scheduling", "priorities", strconv.Itoa(i)}
		if p.Priority < -MostPriority || p.Priority > MostPriority {
			add(at, "", "the priority %d is not from -%d to %d", p.Priority, MostPriority, MostPriority)
		}
		for _, pattern := range []string{p.Project, p.Pipeline, p.Event} {
			if _, err := path.Match(pattern, ""); err != nil {
				add(at, "* ? and [a-z] are special, \\ quotes them", "%q is not a pattern", pattern)
			}
		}
	}
}
