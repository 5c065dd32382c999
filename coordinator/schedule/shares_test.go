package schedule

import (
	"container/heap"
	"fmt"
	"testing"

	"pgregory.net/rapid"
)

// world runs plans against jobs of known lengths, in virtual time.
type world struct {
	Snapshot
	lengths map[jobKey]int64
	busy    ends
	// slot time and jobs that each project had; when each job began.
	had   map[string]int64
	began map[jobKey]int64
	most  map[string]int
}

type end struct {
	at, began int64
	p         Placement
}

type ends []end

func (e ends) Len() int           { return len(e) }
func (e ends) Less(i, j int) bool { return e[i].at < e[j].at }
func (e ends) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *ends) Push(x any)        { *e = append(*e, x.(end)) }
func (e *ends) Pop() any {
	old := *e
	last := old[len(old)-1]
	*e = old[:len(old)-1]
	return last
}

func newWorld(slots int, projects map[string]Project) *world {
	a := agent("a", slots)
	a.CPUMilli, a.Memory, a.Projects = 0, 0, map[string]int{}
	return &world{Snapshot: Snapshot{Agents: fleet(a), Queue: NewQueue(60_000), Projects: projects}, lengths: map[jobKey]int64{}, had: map[string]int64{},
		began: map[jobKey]int64{}, most: map[string]int{}}
}

func (w *world) submit(project string, i int, length int64) jobKey {
	j := job(project, fmt.Sprintf("%06d", i), w.NowMs)
	w.Queue.Put(j)
	k := jobKey{j.Run, j.Job}
	w.lengths[k] = length
	return k
}

// place plans, and begins what was placed.
func (w *world) place() {
	r := Plan(w.Snapshot)
	w.Shares = r.Shares
	for _, p := range r.Placements {
		k := jobKey{p.Job.Run, p.Job.Job}
		w.Queue.Remove(k.run, k.job)
		w.Agents[0].UsedSlots++
		w.Agents[0].Projects[p.Job.Project]++
		w.most[p.Job.Project] = max(w.most[p.Job.Project], w.Agents[0].Projects[p.Job.Project])
		w.began[k] = w.NowMs
		heap.Push(&w.busy, end{at: w.NowMs + w.lengths[k], began: w.NowMs, p: p})
	}
}

// step goes to the end of the next job; false if none runs.
func (w *world) step() bool {
	w.place()
	if len(w.busy) == 0 {
		return false
	}
	e := heap.Pop(&w.busy).(end)
	w.NowMs = e.at
	project := e.p.Job.Project
	w.Agents[0].UsedSlots--
	w.Agents[0].Projects[project]--
	w.had[project] += e.at - e.began
	w.Shares.End(project, w.Projects[project], e.p.Charge, e.at-e.began)
	return true
}

// TestAFloodDelaysAnothersJobByLessThanTwoJobLengths: 10,000 jobs of one project, and at any moment of it one job of another. A flood whose
// project weighs more has as many turns more.
func TestAFloodDelaysAnothersJobByLessThanTwoJobLengths(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		// Also far from what a job is taken for before any has ended.
		length := rapid.SampledFrom([]int64{50, 2_000, 60_000}).Draw(t, "length")
		weight := rapid.Int64Range(1, 3).Draw(t, "weight")
		w := newWorld(rapid.IntRange(1, 8).Draw(t, "slots"), map[string]Project{"flood": {Weight: weight}})
		// What the other project had before, and has ended, counts for a turn at the most.
		for i := range rapid.IntRange(0, 30).Draw(t, "before") {
			w.submit("single", i, length)
		}
		for w.step() {
		}
		for i := range 10_000 {
			w.submit("flood", i, length)
		}
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			w.step()
		}
		came := w.NowMs
		k := w.submit("single", 1_000_000, length)
		for _, begun := w.began[k]; !begun; _, begun = w.began[k] {
			w.step()
		}
		if waited := w.began[k] - came; waited >= (weight+1)*length {
			t.Fatalf("it waited for %d job lengths", waited/length)
		}
		if w.Queue.Len() < 9_000 {
			t.Fatalf("the flood has %d jobs left: it is over", w.Queue.Len())
		}
	})
}

// TestWeightsHoldOverTime: slot time goes by weight, whatever the lengths of the jobs and the number of slots.
func TestWeightsHoldOverTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		projects := map[string]Project{"a": {Weight: rapid.Int64Range(1, 5).Draw(t, "a")}, "b": {Weight: rapid.Int64Range(1, 5).Draw(t, "b")}, "c": {}}
		w := newWorld(rapid.IntRange(1, 9).Draw(t, "slots"), projects)
		spread := rapid.Int64Range(0, 40_000).Draw(t, "spread")
		seed := rapid.Uint64().Draw(t, "seed")
		for i := range 1300 {
			for n, project := range []string{"a", "b", "c"} {
				seed = seed*6364136223846793005 + 1442695040888963407
				w.submit(project, i, 1000+int64(n)*5000+int64(seed>>33)%(spread+1))
			}
		}
		for range 1200 {
			w.step()
		}
		total, weights := int64(0), int64(0)
		for name, p := range projects {
			total, weights = total+w.had[name], weights+p.weight()
		}
		for name, p := range projects {
			want := total * p.weight() / weights
			slack := want*15/100 + 3*int64(w.Agents[0].Slots)*(11_000+spread) // what runs is not counted yet
			if got := w.had[name]; got < want-slack || got > want+slack {
				t.Fatalf("project %s of weight %d had %d ms of %d, want about %d (all: %v)", name, p.weight(), got, total, want, w.had)
			}
		}
	})
}

func TestACapIsNeverPassed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		most := rapid.IntRange(1, 5).Draw(t, "cap")
		w := newWorld(rapid.IntRange(most, 9).Draw(t, "slots"), map[string]Project{"a": {Weight: 9, MaxRunning: most}})
		alone := rapid.Bool().Draw(t, "alone")
		for i := range 60 {
			w.submit("a", i, rapid.Int64Range(1, 100).Draw(t, "length"))
			if i%3 == 0 && !alone {
				w.submit("b", i, 50)
			}
		}
		for w.step() {
		}
		// Another project may have had the slots up to it; without one, it is reached.
		if w.most["a"] > most || alone && w.most["a"] < most || w.Queue.Len() != 0 {
			t.Fatalf("project a had %d jobs at once, may have %d; %d jobs are left", w.most["a"], most, w.Queue.Len())
		}
	})
	w := newWorld(9, map[string]Project{"a": {MaxRunning: 2}})
	for i := range 3 {
		w.submit("a", i, 1)
	}
	r := Plan(w.Snapshot)
	if got := r.Explain(r.Waiting[0].First).Summary; got != "its project a has 2 jobs at work, and may have 2 at once (max_running)" {
		t.Error(got)
	}
}

// TestAPriorityIsWorthATimeOfWaiting, so that it passes what came lately and nothing that has waited for long.
func TestAPriorityIsWorthATimeOfWaiting(t *testing.T) {
	long, late, urgent := job("p", "long", 0), job("p", "late", 90_000), job("p", "urgent", 100_000)
	urgent.Priority = 1
	s := Snapshot{Agents: fleet(agent("a", 3)), Queue: NewQueue(60_000, late, urgent, long)}
	if got := placed(Plan(s)); got != "p/long@a p/urgent@a p/late@a" {
		t.Fatal(got)
	}
}

// TestALargeJobIsNotPassedForEver: without an agent kept free, small jobs would take each CPU that gets free.
func TestALargeJobIsNotPassedForEver(t *testing.T) {
	for _, keep := range []int64{0, 60_000} {
		w := newWorld(8, nil)
		w.KeepAfterMs = keep
		w.Agents[0].CPUMilli = 4000
		large := job("p", "large", 0)
		large.CPUMilli = 4000
		w.Queue.Put(large)
		w.lengths[jobKey{large.Run, large.Job}] = 1
		small := func(i int) Job {
			j := job("p", fmt.Sprint(i), 1)
			j.CPUMilli = 1000
			return j
		}
		// Four CPUs; each second one small job ends and another one is there.
		w.Agents[0].UsedCPU, w.Agents[0].UsedSlots = 4000, 4
		next, begun := 0, false
		for w.NowMs = 1; w.NowMs < 120_000 && !begun; w.NowMs += 1000 {
			w.Queue.Put(small(next))
			next++
			if w.Agents[0].UsedSlots > 0 {
				w.Agents[0].UsedCPU -= 1000
				w.Agents[0].UsedSlots--
			}
			r := Plan(w.Snapshot)
			for _, p := range r.Placements {
				begun = begun || p.Job.Job == "large"
				w.Queue.Remove(p.Job.Run, p.Job.Job)
				w.Agents[0].UsedCPU += p.Job.CPUMilli
				w.Agents[0].UsedSlots++
			}
			if kept := w.NowMs > keep; keep > 0 && kept && !begun {
				if got := r.Explain(small(next - 1)).Refusals[0]; got.Predicate != Kept {
					t.Fatalf("a small job is refused with %+v", got)
				}
			}
		}
		if begun != (keep > 0) {
			t.Errorf("an agent is kept after %d ms: the large job began: %v", keep, begun)
		}
	}
}

func TestLittleDiskTakesNothing(t *testing.T) {
	a := agent("a", 1)
	a.DiskFree = 1 << 30
	s := Snapshot{Agents: fleet(a), Queue: NewQueue(0, job("p", "1", 1)), MinDiskFree: 2 << 30}
	r := Plan(s)
	if len(r.Placements) != 0 || firstRefusal(r).Predicate != Disk || firstRefusal(r).Reason != "has 1024 MiB of disk free, less than the 2048 MiB that it must have to be given work" {
		t.Errorf("%+v", r)
	}
	for _, free := range []int64{0, 2 << 30} {
		s.Agents[0].DiskFree = free
		if r := Plan(s); len(r.Placements) != 1 {
			t.Errorf("with %d bytes free: %+v", free, r.Explain(r.Waiting[0].First))
		}
	}
}

func TestDemandIsByPoolAndLabels(t *testing.T) {
	q := NewQueue(60_000)
	for i := range 6 {
		j := job("p", fmt.Sprint(i), int64(100-i))
		j.Pools, j.CPUMilli, j.Memory = []string{"default"}, int64(i)*1000, 1<<20
		if i == 5 {
			j.Labels, j.Priority = []string{"gpu"}, 3
		}
		q.Put(j)
	}
	got := q.Demand()
	if len(got) != 2 || got[0].Jobs != 5 || got[0].CPUMilli != 10_000 || got[0].MaxCPUMilli != 4000 || got[0].Memory != 5<<20 || got[0].OldestMs != 96 ||
		got[1].Jobs != 1 || got[1].Labels[0] != "gpu" {
		t.Errorf("%+v", got)
	}
}

func TestPositionSaysWhatComesFirst(t *testing.T) {
	w := newWorld(1, map[string]Project{"a": {Weight: 2}})
	for i := range 10 {
		w.submit("a", i, 1000)
	}
	w.NowMs = 5
	for i := range 4 {
		w.submit("b", i, 1000)
	}
	w.place() // a's first
	r := Plan(w.Snapshot)
	third, _ := w.Queue.Job("r-b", "000002")
	got := r.Position(third)
	// b starts at 0, 10, 20 s of virtual time; a, of weight 2, at 5, 10, 15, 20: and of equal ones the older is first.
	if len(got) != 2 || got[0].Project != "b" || got[0].Jobs != 2 || got[1].Jobs != 4 || got[1].Running != 1 || got[1].Part.Weight != 2 {
		t.Fatalf("%+v", got)
	}
	// It is true: the one slot serves them so.
	for _, begun := w.began[jobKey{"r-b", "000002"}]; !begun; _, begun = w.began[jobKey{"r-b", "000002"}] {
		w.Shares.meanMs = firstMeanMs
		for i := range w.busy {
			w.lengths[jobKey{w.busy[i].p.Job.Run, w.busy[i].p.Job.Job}] = 1000
		}
		e := heap.Pop(&w.busy).(end)
		w.Agents[0].UsedSlots--
		w.Agents[0].Projects[e.p.Job.Project]--
		w.place()
	}
	if n := len(w.began); n != 1+2+4+1 {
		t.Errorf("%d jobs began, the third of b being the last", n)
	}
}

// TestALongQueueDoesNotSlowAPlacement counts what a plan looks at: filters asked and agents seen, which are all that grows.
func TestALongQueueDoesNotSlowAPlacement(t *testing.T) {
	work := func(jobs int) float64 {
		s := Snapshot{Queue: NewQueue(60_000)}
		for i := range 100 {
			a := agent(fmt.Sprintf("a%03d", i), 2)
			if i != 50 {
				a.UsedSlots = 2
			}
			s.Agents = append(s.Agents, &a)
		}
		for i := range jobs {
			j := job(fmt.Sprintf("p%d", i%10), fmt.Sprint(i), int64(i))
			j.CPUMilli = int64(i%7) * 100
			s.Queue.Put(j)
		}
		return testing.AllocsPerRun(5, func() {
			if r := Plan(s); len(r.Placements) != 2 {
				t.Fatalf("%d placements", len(r.Placements))
			}
		})
	}
	if few, many := work(1000), work(100_000); many > 2*few {
		t.Errorf("%g allocations with 1,000 jobs in the queue, %g with 100,000", few, many)
	}
}

func BenchmarkPlacement(b *testing.B) {
	for _, n := range []int{1000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := Snapshot{Queue: NewQueue(60_000)}
			for i := range 100 {
				s.Agents = append(s.Agents, fleet(agent(fmt.Sprintf("a%03d", i), 2))...)
				s.Agents[i].UsedSlots = min(i, 1) + 1
			}
			for i := range n {
				s.Queue.Put(job(fmt.Sprintf("p%d", i%10), fmt.Sprint(i), int64(i)))
			}
			for i := 0; b.Loop(); i++ {
				r := Plan(s)
				for _, p := range r.Placements[:1] {
					s.Queue.Remove(p.Job.Run, p.Job.Job)
					p.Job.QueuedMs = int64(n + i)
					s.Queue.Put(p.Job)
				}
			}
		})
	}
}
