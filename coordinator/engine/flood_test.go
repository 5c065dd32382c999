package engine

import (
	"testing"
	"time"

	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// shift plays agents whose jobs all take equally long, by the fake clock.
type shift struct {
	r      *rig
	agents []*fakeAgent
	length time.Duration
	// ends are when the jobs that run are over, by attempt; of says whose they are.
	ends map[string]time.Time
	of   map[string]*fakeAgent
	// begun are the runs whose jobs have begun, with the time of the first one.
	begun map[string]time.Time
}

// work lets time pass, a second at a time, until done.
func (s *shift) work(done func() bool) {
	s.r.t.Helper()
	for !done() {
		s.r.clock.Advance(time.Second)
		for _, a := range s.agents {
			s.r.Heartbeat(a.id, a.session, 1<<40)
			for attempt, end := range s.ends {
				if s.of[attempt] == a && !s.r.clock.Now().Before(end) {
					a.finish(attempt, success)
					delete(s.ends, attempt)
				}
			}
		}
		for _, a := range s.agents {
			for range a.offers() {
				as := a.offer()
				a.accept(as.GetAttemptId())
				a.running(as.GetAttemptId())
				s.ends[as.GetAttemptId()], s.of[as.GetAttemptId()] = s.r.clock.Now().Add(s.length), a
				if _, known := s.begun[as.GetRunId()]; !known {
					s.begun[as.GetRunId()] = s.r.clock.Now()
				}
			}
		}
	}
}

func TestAFloodOf10000JobsDelaysAnotherProjectByLessThanTwoJobs(t *testing.T) {
	// Longer and shorter than what a leader that has seen no job yet takes one for.
	for _, length := range []time.Duration{2 * time.Second, 10 * time.Second, 30 * time.Second} {
		t.Run(length.String(), func(t *testing.T) { underFlood(t, length) })
	}
}

func underFlood(t *testing.T, length time.Duration) {
	const jobs, legs = 10_000, 250
	r := newRig(t)
	s := &shift{r: r, agents: []*fakeAgent{r.agent("a", 2), r.agent("b", 2)}, length: length, ends: map[string]time.Time{}, of: map[string]*fakeAgent{}, begun: map[string]time.Time{}}
	flood := r.submission(plan(wide("build", legs)))
	flood.Project = "flood"
	for range jobs / legs {
		flood.RequestID = r.ids.New()
		if _, _, err := r.Submit(r.ctx(), flood); err != nil {
			t.Fatal(err)
		}
	}
	// Also one that comes when the flood has had the agents for long, and one that comes again soon.
	for n, after := range []time.Duration{0, 5 * length, 7*length/2 + time.Second} {
		until := r.clock.Now().Add(after)
		s.work(func() bool { return !r.clock.Now().Before(until) })
		single := r.submission(plan(job("one")))
		single.Project = "other"
		id, _, err := r.Submit(r.ctx(), single)
		if err != nil {
			t.Fatal(err)
		}
		submitted := r.clock.Now()
		s.work(func() bool { _, begun := s.begun[id]; return begun })
		if waited := s.begun[id].Sub(submitted); waited >= 2*length {
			t.Errorf("job %d of the other project waited for %v, and a job takes %v", n, waited, length)
		}
	}
	// The test is about a flood only if it is still there.
	if left := r.queued("flood"); left < jobs*9/10 {
		t.Errorf("the flood has only %d jobs left", left)
	}
}

// queued counts a project's jobs that wait for an agent.
func (r *rig) queued(project string) int {
	n := 0
	if err := r.ask(r.ctx(), func(reply func(error)) {
		for _, x := range r.runs {
			for _, j := range x.jobs {
				if x.def.GetProject() == project && j.rec.GetState() == corev1.JobState_JOB_STATE_QUEUED {
					n++
				}
			}
		}
		reply(nil)
	}); err != nil {
		r.t.Fatal(err)
	}
	return n
}
