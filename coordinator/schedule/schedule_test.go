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

func placed(r Result) string {
	var out []string
	for _, p := range r.Placements {
		out = append(out, p.Job.Project+"/"+p.Job.Job+"@"+p.Agent)
	}
	return strings.Join(out, " ")
}

func TestFirstInFirstOutAndSpread(t *testing.T) {
	got := placed(Plan(Snapshot{Agents: []Agent{agent("b", 2), agent("a", 2)}, Jobs: []Job{job("p", "3", 3), job("p", "1", 1), job("p", "2", 2)}}))
	if got != "p/1@a p/2@b p/3@a" {
		t.Fatal(got)
	}
}

func TestFairShareBetweenProjects(t *testing.T) {
	a := agent("a", 10)
	a.UsedSlots, a.Projects = 2, map[string]int{"big": 2}
	var jobs []Job
	for i := range 5 {
		jobs = append(jobs, job("big", fmt.Sprint(i), int64(i)))
	}
	for i := range 3 {
		jobs = append(jobs, job("small", fmt.Sprint(i), int64(100+i)))
	}
	got := placed(Plan(Snapshot{Agents: []Agent{a}, Jobs: jobs}))
	if want := "small/0@a small/1@a big/0@a small/2@a big/1@a big/2@a big/3@a big/4@a"; got != want {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
}

func TestAJobThatFitsNowhereDoesNotBlockOthers(t *testing.T) {
	huge := job("p", "huge", 1)
	huge.CPUMilli = 64000
	r := Plan(Snapshot{Agents: []Agent{agent("a", 2)}, Jobs: []Job{huge, job("p", "small", 2)}})
	if placed(r) != "p/small@a" || len(r.Waiting) != 1 || r.Waiting[0].Refusals[0].Predicate != Size {
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
	agents := []Agent{offline, busy, other, fullCPU, fullMem, avoided, small, labelled}
	for i := range agents {
		if agents[i].ID != "labels" {
			agents[i].Labels = []string{"linux"}
		}
	}
	j := Job{Run: "r", Job: "j", Project: "p", Pools: []string{"default"}, Labels: []string{"linux"}, CPUMilli: 1000, Memory: 1 << 30,
		Avoid: map[string]string{"avoided": "rejected it 2 s ago"}}
	r := Plan(Snapshot{Agents: agents, Jobs: []Job{j}})
	if len(r.Placements) != 0 || len(r.Waiting) != 1 {
		t.Fatalf("%+v", r)
	}
	want := map[string]Predicate{"offline": Online, "busy": Slots, "other": Pool, "cpu": CPU, "mem": Memory, "avoided": Avoid, "small": Size, "labels": Labels}
	for _, f := range r.Waiting[0].Refusals {
		if want[f.Agent] != f.Predicate || f.Reason == "" {
			t.Errorf("%+v, want %s", f, want[f.Agent])
		}
		delete(want, f.Agent)
	}
	if len(want) > 0 {
		t.Errorf("not explained: %v", want)
	}
	if !strings.Contains(r.Waiting[0].Summary, "no agent can take it now") {
		t.Error(r.Waiting[0].Summary)
	}
}

func TestNoAgentsAtAll(t *testing.T) {
	r := Plan(Snapshot{Jobs: []Job{job("p", "1", 1)}})
	if len(r.Waiting) != 1 || r.Waiting[0].Summary != "no agent has joined yet" {
		t.Fatalf("%+v", r)
	}
}

func drawSnapshot(t *rapid.T) Snapshot {
	s := Snapshot{Policies: map[string]Policy{"gpu": {Isolation: rapid.SampledFrom([]string{"", "untrusted"}).Draw(t, "isolation")}}}
	for i := range rapid.IntRange(0, 6).Draw(t, "agents") {
		a := agent(fmt.Sprintf("a%d", i), rapid.IntRange(0, 3).Draw(t, "slots"))
		a.Online = rapid.Bool().Draw(t, "online")
		a.Pool = rapid.SampledFrom([]string{"default", "gpu"}).Draw(t, "pool")
		a.UsedSlots = rapid.IntRange(0, a.Slots).Draw(t, "used")
		if rapid.Bool().Draw(t, "able") {
			a.Abilities.Isolation = map[string]string{"untrusted": ""}
		}
		s.Agents = append(s.Agents, a)
	}
	for i := range rapid.IntRange(0, 20).Draw(t, "jobs") {
		j := job(rapid.SampledFrom([]string{"p", "q", "r"}).Draw(t, "project"), fmt.Sprint(i), rapid.Int64Range(0, 5).Draw(t, "queued"))
		j.CPUMilli = rapid.Int64Range(0, 5).Draw(t, "cpu") * 1000
		j.Pools = rapid.SampledFrom([][]string{nil, {"default"}, {"gpu"}}).Draw(t, "pools")
		s.Jobs = append(s.Jobs, j)
	}
	return s
}

// TestPlans checks of any snapshot: each job is placed once or explained once, nothing is overbooked, a waiting job fits nowhere, and the
// order of the input does not matter.
func TestPlans(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawSnapshot(t)
		r := Plan(s)
		if len(r.Placements)+len(r.Waiting) != len(s.Jobs) {
			t.Fatalf("%d jobs, %d placed, %d waiting", len(s.Jobs), len(r.Placements), len(r.Waiting))
		}
		planner, after := newPlanner(s), map[string]*Agent{}
		for _, a := range s.Agents {
			after[a.ID] = &a
		}
		for _, p := range r.Placements {
			a := after[p.Agent]
			if no := planner.refuse(a, p.Job); no != nil {
				t.Fatalf("%s on %s, which %s", p.Job.Job, p.Agent, no.Reason)
			}
			a.UsedSlots++
			a.UsedCPU += p.Job.CPUMilli
		}
		for _, w := range r.Waiting {
			if len(w.Refusals) != len(s.Agents) {
				t.Fatalf("%s waits: %d agents, %d refusals", w.Job.Job, len(s.Agents), len(w.Refusals))
			}
			for _, a := range after {
				if planner.refuse(a, w.Job) == nil {
					t.Fatalf("%s waits, but fits on %s", w.Job.Job, a.ID)
				}
			}
		}
		rand.Shuffle(len(s.Jobs), func(i, j int) { s.Jobs[i], s.Jobs[j] = s.Jobs[j], s.Jobs[i] })
		rand.Shuffle(len(s.Agents), func(i, j int) { s.Agents[i], s.Agents[j] = s.Agents[j], s.Agents[i] })
		if again := Plan(s); !reflect.DeepEqual(r, again) {
			t.Fatalf("another order, another plan:\n%+v\n%+v", r, again)
		}
	})
}

func BenchmarkPlanManyJobsManyAgents(b *testing.B) {
	var s Snapshot
	for i := range 5000 {
		s.Agents = append(s.Agents, agent(fmt.Sprintf("a%05d", i), 2))
		s.Agents[i].UsedSlots = 2
	}
	for i := range 10000 {
		s.Jobs = append(s.Jobs, job("p", fmt.Sprint(i), int64(i)))
	}
	for b.Loop() {
		Plan(s)
	}
}
