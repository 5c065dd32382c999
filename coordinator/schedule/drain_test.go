package schedule

import "testing"

func TestADrainIsARefusalOfItsOwn(t *testing.T) {
	free, full := agent("free", 1), agent("full", 1)
	full.UsedSlots = 1
	free.Drain = "is draining since noon by ada: kernel update"
	res := Plan(Snapshot{Agents: fleet(free, full), Queue: NewQueue(0, job("p", "1", 1))})
	if len(res.Placements) != 0 || len(res.Waiting) != 1 {
		t.Fatalf("%+v", res)
	}
	r := res.Explain(res.Waiting[0].First).Refusals[0]
	if r.Agent != "free" || r.Predicate != Drain || r.Reason != free.Drain {
		t.Errorf("refused with %+v", r)
	}
	// Also an agent that is away says that it is drained: it will take nothing when it is back.
	free.Online = false
	if r := firstRefusal(Plan(Snapshot{Agents: fleet(free), Queue: NewQueue(0, job("p", "1", 1))})); r.Predicate != Drain {
		t.Errorf("while it is away: %+v", r)
	}
	// A job that could never run there is told that, not of the drain.
	other := job("p", "1", 1)
	other.Pools = []string{"elsewhere"}
	if r := firstRefusal(Plan(Snapshot{Agents: fleet(free), Queue: NewQueue(0, other)})); r.Predicate != Pool {
		t.Errorf("of another pool: %+v", r)
	}
}
