package graph

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/slipway-ci/slipway/pipeline/expr"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

func job(id, condition string, needs ...string) *planv1.Job {
	return &planv1.Job{Id: id, Condition: condition, Needs: needs}
}

func start(t *testing.T, jobs ...*planv1.Job) *Progress {
	t.Helper()
	g, err := New(jobs)
	if err != nil {
		t.Fatal(err)
	}
	return g.Start()
}

func end(t *testing.T, p *Progress, id string, outcomes ...Outcome) {
	t.Helper()
	if err := p.Begin(id, len(outcomes)); err != nil {
		t.Fatal(err)
	}
	for leg, o := range outcomes {
		if err := p.End(id, leg, o); err != nil {
			t.Fatal(err)
		}
	}
}

func ready(t *testing.T, p *Progress, want string) {
	t.Helper()
	if got := strings.Join(p.Ready(), " "); got != want {
		t.Fatalf("ready are %q, want %q", got, want)
	}
}

func decide(t *testing.T, p *Progress, id string, env Env, want Decision) string {
	t.Helper()
	got, reason, err := p.Decide(id, env)
	if err != nil || got != want {
		t.Fatalf("%s: decision %v (%s), %v; want %v", id, got, reason, err, want)
	}
	return reason
}

func TestRun(t *testing.T) {
	p := start(t, job("test", "success()", "build"), job("build", "success()"), job("deploy", "success()", "test", "BUILD"))
	ready(t, p, "build")
	ready(t, p, "")
	decide(t, p, "build", Env{}, Run)
	end(t, p, "build", Outcome{Result: Success, Outputs: []Output{{"v", "1"}}})
	ready(t, p, "test")
	if _, err := p.Needs("deploy"); err == nil {
		t.Fatal("needs before they have ended")
	}
	end(t, p, "test", Outcome{Result: Success}, Outcome{Result: Success})
	ready(t, p, "deploy")
	needs, err := p.Needs("deploy")
	if err != nil {
		t.Fatal(err)
	}
	if got := expr.ToJSON(needs); got != `{"test":{"result":"success","outputs":{}},"build":{"result":"success","outputs":{"v":"1"}}}` {
		t.Fatal(got)
	}
	if p.Done() {
		t.Fatal("done before deploy")
	}
	end(t, p, "deploy", Outcome{Result: Failure})
	if r, ok := p.Result("Deploy"); !p.Done() || !ok || r != Failure {
		t.Fatal(p.Done(), r, ok)
	}
}

// A skip goes through all descendants unless their `if` has a status function; even past one that has it.
func TestSkipPropagates(t *testing.T) {
	p := start(t, job("a", "success() && (false)"), job("b", "success()", "a"), job("c", "always()", "b"), job("d", "success()", "c"),
		job("e", "!failure()", "d"), job("f", "needs.c.result == 'success' && !cancelled()", "c"))
	for _, step := range []struct {
		id   string
		want Decision
	}{{"a", Skip}, {"b", Skip}, {"c", Run}, {"d", Skip}, {"e", Run}, {"f", Run}} {
		reason := decide(t, p, step.id, Env{}, step.want)
		result := Success
		if step.want == Skip {
			result = Skipped
			if step.id == "b" && reason != "its `if` does not hold, and a ended with skipped" {
				t.Fatal(reason)
			}
		}
		end(t, p, step.id, Outcome{Result: result})
	}
	if !p.Done() {
		t.Fatal("not done")
	}
}

func TestFailureLooksAtEveryAncestor(t *testing.T) {
	p := start(t, job("a", "success()"), job("b", "always()", "a"), job("c", "failure()", "b"), job("d", "success('b')", "b"),
		job("e", "failure('b') || success('a')", "a", "b"))
	end(t, p, "a", Outcome{Result: Failure})
	end(t, p, "b", Outcome{Result: Success})
	decide(t, p, "c", Env{}, Run)
	decide(t, p, "d", Env{}, Run)
	decide(t, p, "e", Env{}, Skip)
}

func TestCancelled(t *testing.T) {
	p := start(t, job("a", "success()"), job("b", "always()"), job("c", "cancelled()"), job("d", "success() && (github.x == 1)"))
	env := Env{Cancelled: true, Contexts: expr.NewObject(expr.Pair{Key: "github", Value: expr.NewObject(expr.Pair{Key: "x", Value: expr.Number(1)}).Value()})}
	if reason := decide(t, p, "a", env, Skip); reason != "the run was cancelled" {
		t.Fatal(reason)
	}
	decide(t, p, "b", env, Run)
	decide(t, p, "c", env, Run)
	env.Cancelled = false
	decide(t, p, "c", env, Skip)
	decide(t, p, "d", env, Run)
}

func TestMatrixResults(t *testing.T) {
	for _, c := range []struct {
		legs []Outcome
		want Result
	}{
		{[]Outcome{{Result: Success}, {Result: Failure}, {Result: Cancelled}}, Failure},
		{[]Outcome{{Result: Success}, {Result: Cancelled}}, Cancelled},
		{[]Outcome{{Result: Success}, {Result: Skipped}}, Success},
		{[]Outcome{{Result: Skipped}, {Result: Skipped}}, Skipped},
		{[]Outcome{{Result: Failure, ContinueOnError: true}}, Success},
	} {
		p := start(t, job("m", "success()"))
		end(t, p, "m", c.legs...)
		if r, ok := p.Result("m"); !ok || r != c.want {
			t.Errorf("%v: %v, want %v", c.legs, r, c.want)
		}
	}
	p := start(t, job("m", "success()"), job("n", "success()", "m"))
	end(t, p, "m", Outcome{Result: Success, Outputs: []Output{{"a", "1"}, {"b", "x"}}}, Outcome{Result: Success, Outputs: []Output{{"a", "2"}, {"b", ""}}})
	needs, err := p.Needs("n")
	if err != nil || needs.Get("m").Get("outputs").Get("a").Text() != "2" || needs.Get("m").Get("outputs").Get("b").Text() != "x" {
		t.Fatal(expr.ToJSON(needs), err)
	}
}

func TestReplayIsIdempotent(t *testing.T) {
	p := start(t, job("a", "success()"), job("b", "success()", "a"))
	end(t, p, "a", Outcome{Result: Success})
	end(t, p, "a", Outcome{Result: Failure})
	if r, _ := p.Result("a"); r != Success {
		t.Fatal(r)
	}
	ready(t, p, "b")
	if err := p.End("b", 0, Outcome{Result: Success}); err == nil {
		t.Fatal("ended before it began")
	}
	if err := p.Begin("nobody", 1); err == nil {
		t.Fatal("began what is not there")
	}
	if _, _, err := start(t, job("a", "nothing.x")).Decide("a", Env{}); err == nil {
		t.Fatal("a bad condition held")
	}
}

func TestNewRefuses(t *testing.T) {
	for want, jobs := range map[string][]*planv1.Job{
		"twice":        {job("a", ""), job("A", "")},
		"not there":    {job("a", "", "b")},
		"form a cycle": {job("a", "", "b"), job("b", "", "a")},
	} {
		if _, err := New(jobs); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestEveryJobIsReadyOnce, after its needs, whatever the graph and the order in which jobs end.
func TestEveryJobIsReadyOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 30).Draw(t, "jobs")
		var jobs []*planv1.Job
		for i := range n {
			var needs []string
			for range rapid.IntRange(0, 3).Draw(t, "needs") {
				if i > 0 {
					needs = append(needs, fmt.Sprintf("j%d", rapid.IntRange(0, i-1).Draw(t, "need")))
				}
			}
			condition := rapid.SampledFrom([]string{"success()", "always()", "failure()"}).Draw(t, "if")
			jobs = append(jobs, job(fmt.Sprintf("j%d", i), condition, needs...))
		}
		g, err := New(jobs)
		if err != nil {
			t.Fatal(err)
		}
		p := g.Start()
		open := p.Ready()
		seen := map[string]bool{}
		for len(open) > 0 {
			at := rapid.IntRange(0, len(open)-1).Draw(t, "next")
			id := open[at]
			open = append(open[:at], open[at+1:]...)
			if seen[id] {
				t.Fatalf("%s was ready twice", id)
			}
			seen[id] = true
			for _, need := range g.Job(id).GetNeeds() {
				if _, ended := p.Result(need); !ended {
					t.Fatalf("%s was ready before %s ended", id, need)
				}
			}
			d, _, err := p.Decide(id, Env{})
			if err != nil {
				t.Fatal(err)
			}
			r := Skipped
			if d == Run {
				r = rapid.SampledFrom([]Result{Success, Failure, Cancelled}).Draw(t, "result")
			}
			if err := p.Begin(id, 1); err != nil {
				t.Fatal(err)
			}
			if err := p.End(id, 0, Outcome{Result: r}); err != nil {
				t.Fatal(err)
			}
			open = append(open, p.Ready()...)
		}
		if len(seen) != n || !p.Done() {
			t.Fatalf("%d of %d jobs were ready", len(seen), n)
		}
	})
}

func TestLargeGraphIsLinear(t *testing.T) {
	var jobs []*planv1.Job
	for i := range 10_000 {
		var needs []string
		for k := 1; k <= 5 && k <= i; k++ {
			needs = append(needs, fmt.Sprintf("j%d", i-k))
		}
		jobs = append(jobs, job(fmt.Sprintf("j%d", i), "success()", needs...))
	}
	begin := time.Now()
	p := start(t, jobs...)
	for open := p.Ready(); len(open) > 0; open = p.Ready() {
		for _, id := range open {
			decide(t, p, id, Env{}, Run)
			end(t, p, id, Outcome{Result: Success})
		}
	}
	if took := time.Since(begin); !p.Done() || took > 5*time.Second {
		t.Fatalf("took %v", took)
	}
}
