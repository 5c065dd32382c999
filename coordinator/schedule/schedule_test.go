package schedule

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func agent(id string, slots int) Agent {
	return Agent{ID: id, Pool: "default", Online: true, Slots: slots, CPUMilli: 4000, Memory: 8 << 30}
}

func job(project, id string, queued int64) Job {
	return Job{Run: "r-" + project, Job: id, Project: project, QueuedMs: queued}
}

func fleet(agents ...Agent) []*Agent {
	out := make([]*Agent, len(agents))
	for i := range agents {
		out[i] = &agents[i]
	}
	return out
}

func (a *Agent) clone() *Agent {
	c := *a
	return &c
}

func placed(r Result) string {
	var out []string
	for _, p := range r.Placements {
		out = append(out, p.Job.Project+"/"+p.Job.Job+"@"+p.Agent)
	}
	return strings.Join(out, " ")
}

func TestAPlanChangesNoAgentOfItsSnapshot(t *testing.T) {
	a := agent("a", 2)
	s := Snapshot{Agents: fleet(a), Queue: NewQueue(0, job("p", "1", 1), job("p", "2", 2))}
	r := Plan(s)
	if got := placed(r); got != "p/1@a p/2@a" || s.Agents[0].UsedSlots != 0 || r.Agents()[0].UsedSlots != 2 {
		t.Fatalf("%s; %d slots in use before, %d after", got, s.Agents[0].UsedSlots, r.Agents()[0].UsedSlots)
	}
}

func TestFirstInFirstOutAndSpread(t *testing.T) {
	got := placed(Plan(Snapshot{Agents: fleet(agent("b", 2), agent("a", 2)), Queue: NewQueue(0, job("p", "3", 3), job("p", "1", 1), job("p", "2", 2))}))
	if got != "p/1@a p/2@b p/3@a" {
		t.Fatal(got)
	}
}

func firstRefusal(r Result) Refusal { return r.Explain(r.Waiting[0].First).Refusals[0] }

func TestFairShareBetweenProjects(t *testing.T) {
	var jobs []Job
	for i := range 5 {
		jobs = append(jobs, job("big", fmt.Sprint(i), int64(i)))
	}
	for i := range 3 {
		jobs = append(jobs, job("small", fmt.Sprint(i), int64(100+i)))
	}
	s := Snapshot{Agents: fleet(agent("a", 10)), Queue: NewQueue(0, jobs...)}
	if got, want := placed(Plan(s)), "big/0@a small/0@a big/1@a small/1@a big/2@a small/2@a big/3@a big/4@a"; got != want {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
	s.Projects = map[string]Project{"small": {Weight: 2}}
	if got, want := placed(Plan(s)), "big/0@a small/0@a small/1@a big/1@a small/2@a big/2@a big/3@a big/4@a"; got != want {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
}

func TestAJobThatFitsNowhereDoesNotBlockOthers(t *testing.T) {
	huge := job("p", "huge", 1)
	huge.CPUMilli = 64000
	r := Plan(Snapshot{Agents: fleet(agent("a", 2)), Queue: NewQueue(0, huge, job("p", "small", 2))})
	if placed(r) != "p/small@a" || len(r.Waiting) != 1 || r.Explain(r.Waiting[0].First).Refusals[0].Predicate != Size {
		t.Fatalf("%+v", r)
	}
}

func TestEveryFilterExplainsItself(t *testing.T) {
	offline, busy, other := agent("offline", 1), agent("busy", 1), agent("other", 1)
	offline.Online = false
	busy.UsedSlots = 1
	other.Pool = "gpu"
	fullCPU, fullMem := agent("cpu", 9), agent("mem", 9)
	fullCPU.UsedCPU, fullMem.UsedMem = 3500, 8<<30-1<<20
	avoided, small := agent("avoided", 1), agent("small", 1)
	small.Memory = 1 << 20
	labelled := agent("labels", 1)
	agents := fleet(offline, busy, other, fullCPU, fullMem, avoided, small, labelled)
	for i := range agents {
		if agents[i].ID != "labels" {
			agents[i].Labels = []string{"linux"}
		}
	}
	j := Job{Run: "r", Job: "j", Project: "p", Pools: []string{"default"}, Labels: []string{"linux"}, CPUMilli: 1000, Memory: 1 << 30,
		Avoid: map[string]string{"avoided": "rejected it 2 s ago"}}
	r := Plan(Snapshot{Agents: agents, Queue: NewQueue(0, j)})
	if len(r.Placements) != 0 || len(r.Waiting) != 1 {
		t.Fatalf("%+v", r)
	}
	want := map[string]Predicate{"offline": Online, "busy": Slots, "other": Pool, "cpu": CPU, "mem": Memory, "avoided": Avoid, "small": Size, "labels": Labels}
	for _, f := range r.Explain(r.Waiting[0].First).Refusals {
		if want[f.Agent] != f.Predicate || f.Reason == "" {
			t.Errorf("%+v, want %s", f, want[f.Agent])
		}
		delete(want, f.Agent)
	}
	if len(want) > 0 {
		t.Errorf("not explained: %v", want)
	}
	if !strings.Contains(r.Explain(r.Waiting[0].First).Summary, "no agent can take it now") {
		t.Error(r.Explain(r.Waiting[0].First).Summary)
	}
}

func TestNoAgentsAtAll(t *testing.T) {
	r := Plan(Snapshot{Queue: NewQueue(0, job("p", "1", 1))})
	if len(r.Waiting) != 1 || r.Explain(r.Waiting[0].First).Summary != "no agent has joined yet" {
		t.Fatalf("%+v", r)
	}
}

func drawSnapshot(t *rapid.T) (Snapshot, []Job) {
	s := Snapshot{Policies: map[string]Policy{"gpu": {Isolation: rapid.SampledFrom([]string{"", "untrusted"}).Draw(t, "isolation")}}}
	for i := range rapid.IntRange(0, 6).Draw(t, "agents") {
		a := agent(fmt.Sprintf("a%d", i), rapid.IntRange(0, 3).Draw(t, "slots"))
		a.Online = rapid.Bool().Draw(t, "online")
		a.Pool = rapid.SampledFrom([]string{"default", "gpu"}).Draw(t, "pool")
		a.UsedSlots = rapid.IntRange(0, a.Slots).Draw(t, "used")
		if rapid.Bool().Draw(t, "able") {
			a.Abilities.Isolation = map[string]string{"untrusted": ""}
		}
		s.Agents = append(s.Agents, &a)
	}
	s.Projects = map[string]Project{"p": {Weight: rapid.Int64Range(0, 4).Draw(t, "weight")}, "q": {MaxRunning: rapid.IntRange(0, 3).Draw(t, "cap")}}
	s.NowMs, s.KeepAfterMs = 5, rapid.Int64Range(0, 4).Draw(t, "keep after")
	var jobs []Job
	for i := range rapid.IntRange(0, 20).Draw(t, "jobs") {
		j := job(rapid.SampledFrom([]string{"p", "q", "r"}).Draw(t, "project"), fmt.Sprint(i), rapid.Int64Range(0, 5).Draw(t, "queued"))
		j.CPUMilli = rapid.Int64Range(0, 5).Draw(t, "cpu") * 1000
		j.Pools = rapid.SampledFrom([][]string{nil, {"default"}, {"gpu"}}).Draw(t, "pools")
		j.Priority = rapid.Int64Range(-2, 2).Draw(t, "priority")
		jobs = append(jobs, j)
	}
	return s, jobs
}

// TestPlans checks of any snapshot: each job is placed once or waits, nothing is overbooked, no cap is passed, a waiting job fits nowhere or its
// project has what it may, everything is explained, and the order of the input does not matter.
func TestPlans(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, jobs := drawSnapshot(t)
		s.Queue = NewQueue(2, jobs...)
		r := Plan(s)
		waiting := 0
		for _, w := range r.Waiting {
			waiting += w.Jobs
		}
		if len(r.Placements)+waiting != len(jobs) {
			t.Fatalf("%d jobs, %d placed, %d waiting", len(jobs), len(r.Placements), waiting)
		}
		after, running := map[string]*Agent{}, map[string]int{}
		for _, a := range s.Agents {
			after[a.ID] = a.clone()
		}
		empty := newPlanner(Snapshot{Policies: s.Policies})
		for _, p := range r.Placements {
			a := after[p.Agent]
			if no := empty.refuses(a, &p.Job); no != nil {
				t.Fatalf("%s on %s, which %s", p.Job.Job, p.Agent, no.why(empty, a, &p.Job))
			}
			a.UsedSlots++
			a.UsedCPU += p.Job.CPUMilli
			running[p.Job.Project]++
		}
		for project, n := range running {
			if most := s.Projects[project].MaxRunning; most > 0 && n > most {
				t.Fatalf("project %s has %d jobs, and may have %d", project, n, most)
			}
		}
		for _, w := range r.Waiting {
			most := s.Projects[w.First.Project].MaxRunning
			capped := most > 0 && running[w.First.Project] == most
			v := r.Explain(w.First)
			if v.Summary == "" || !capped && len(v.Refusals) != len(s.Agents) {
				t.Fatalf("%s waits: %d agents, %+v", w.First.Job, len(s.Agents), v)
			}
			for _, a := range after {
				if !capped && empty.refuses(a, &w.First) == nil && r.after.kept[a.ID] == nil {
					t.Fatalf("%s waits, but fits on %s", w.First.Job, a.ID)
				}
			}
		}
		rand.Shuffle(len(jobs), func(i, j int) { jobs[i], jobs[j] = jobs[j], jobs[i] })
		rand.Shuffle(len(s.Agents), func(i, j int) { s.Agents[i], s.Agents[j] = s.Agents[j], s.Agents[i] })
		// Also a queue that others went through is the same as a new one.
		s.Queue = NewQueue(2, job("gone", "gone", 1))
		for _, j := range jobs {
			other := j
			other.Project, other.Labels = "other", []string{"none"} // the same key
			s.Queue.Put(other)
			s.Queue.Put(j)
		}
		s.Queue.Remove("r-gone", "gone")
		again := Plan(s)
		if !reflect.DeepEqual(r.Placements, again.Placements) || !reflect.DeepEqual(r.Waiting, again.Waiting) || !reflect.DeepEqual(r.Shares, again.Shares) {
			t.Fatalf("another order, another plan:\n%+v\n%+v", r, again)
		}
	})
}

func BenchmarkPlanManyJobsManyAgents(b *testing.B) {
	s := Snapshot{Queue: NewQueue(0)}
	for i := range 5000 {
		s.Agents = append(s.Agents, fleet(agent(fmt.Sprintf("a%05d", i), 2))...)
		s.Agents[i].UsedSlots = 2
	}
	for i := range 10000 {
		s.Queue.Put(job("p", fmt.Sprint(i), int64(i)))
	}
	for b.Loop() {
		Plan(s)
	}
}
