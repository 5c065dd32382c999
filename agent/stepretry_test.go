package agent_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/agent/sandbox/fake"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

func tried(attempts uint32, on ...string) func(*planv1.Step) {
	return func(s *planv1.Step) { s.Retry = &planv1.Retry{Attempts: attempts, On: on} }
}

// counting is a script that succeeds at its third run.
func counting(file string) string {
	return "echo x >> " + file + "; n=$(grep -c x " + file + "); echo try $n; echo n=$n >> $GITHUB_OUTPUT; [ $n = 1 ] && echo gone=1 >> $GITHUB_OUTPUT; [ $n -ge 3 ]"
}

func TestAStepIsTriedAgain(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	a := job("a1",
		sh(counting(filepath.Join(h.dir, "n")), id("s"), tried(4, "failure")),
		&planv1.Step{Condition: "success()", Kind: &planv1.Step_Run{Run: &planv1.Run{Script: exp("format('echo {0}{1}', steps.s.outputs.n, steps.s.outputs.gone)")}}},
		sh("echo once; exit 5", cond("always()"), tried(3, "timeout"), func(s *planv1.Step) { s.ContinueOnError = lit("true") }),
		sh("echo slow; exec sleep 600", tried(2, "timeout"), func(s *planv1.Step) { s.TimeoutMinutes = lit("0.002") }),
	)
	h.c.Offer(a)
	got := h.c.WaitDone("a1")
	if want := "try 1\nTry 1 of 4 failed: Process completed with exit code 1. Trying again.\ntry 2\nTry 2 of 4 failed: Process completed with exit code 1. Trying again.\ntry 3\n"; logOf(got, 1) != want {
		t.Errorf("%q, want %q", logOf(got, 1), want)
	}
	// What a try that failed wrote for later steps is gone with it.
	if logOf(got, 2) != "3\n" || logOf(got, 3) != "once\n" || strings.Count(logOf(got, 4), "slow\n") != 2 {
		t.Errorf("%q %q %q", logOf(got, 2), logOf(got, 3), logOf(got, 4))
	}
	if c := conclusions(got); c != "0:success 1:success 2:success 3:success 4:failure 5:success" {
		t.Error(c)
	}
	if n := got.Last().GetAnnotations(); len(n) != 1 || n[0].GetTitle() != "Flaky" || n[0].GetMessage() != "The step passed on try 3." {
		t.Errorf("%v", n)
	}
}

// TestARestartBetweenTriesRunsEachOnce kills the agent in the second try, which goes on without it.
func TestARestartBetweenTriesRunsEachOnce(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	n, gate := filepath.Join(h.dir, "n"), filepath.Join(h.dir, "gate")
	h.c.Offer(job("a1", sh("echo x >> "+n+"; n=$(grep -c x "+n+"); echo try $n; [ $n = 2 ] && while [ ! -e "+gate+" ]; do sleep 0.02; done; [ $n -ge 3 ]", tried(3, "failure"))))
	h.c.Wait("the second try", func() bool { return strings.Contains(logOf(h.c.Attempt("a1"), 1), "try 2\n") })
	h.down()
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	h.up()
	got := h.c.WaitDone("a1")
	if l := logOf(got, 1); strings.Count(l, "\ntry 2\n") != 1 || !strings.HasSuffix(l, "Try 2 of 3 failed: Process completed with exit code 1. Trying again.\ntry 3\n") || got.Last().GetResult() != corev1.Result_RESULT_SUCCESS {
		t.Errorf("%q %v", l, got.Last())
	}
}

func TestACancelEndsTheTries(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	h.c.Offer(job("a1", sh("echo try; exit 1", tried(9, "failure"), func(s *planv1.Step) { s.Retry.BackoffMs = 3_600_000 })))
	h.c.Wait("the pause", func() bool { return strings.Contains(logOf(h.c.Attempt("a1"), 1), "Trying again after 1h0m0s.") })
	h.c.Cancel("a1", "no longer needed")
	if a := h.c.WaitDone("a1"); a.Last().GetResult() != corev1.Result_RESULT_CANCELLED || strings.Count(logOf(a, 1), "try\n") != 1 {
		t.Errorf("%v %q", a.Last(), logOf(a, 1))
	}
}

func TestReportsOfAStep(t *testing.T) {
	h := newHost(t, fake.Options{})
	h.up()
	junit := `<testsuite><testcase name="a"/><testcase name="b"><failure message="no"/></testcase></testsuite>`
	reports := func(globs ...string) func(*planv1.Step) {
		return func(s *planv1.Step) {
			s.Reports = &planv1.Reports{}
			for _, g := range globs {
				s.Reports.Junit = append(s.Reports.Junit, lit(g))
			}
		}
	}
	a := job("a1",
		sh("mkdir out; echo '"+junit+"' > out/junit.xml; echo x > out/no.txt; exit 3", id("unit"), reports("out/*.xml"), func(s *planv1.Step) { s.ContinueOnError = lit("true") }),
		sh("true", reports("nowhere/*.xml")),
	)
	h.c.Offer(a)
	got := h.c.WaitDone("a1")
	arts := h.c.Artifacts()
	if len(arts) != 1 || arts[0].GetName() != "reports-build-unit" || arts[0].GetFiles() != 1 || arts[0].GetTests().GetFailures() != 1 || arts[0].GetTests().GetTests() != 2 {
		t.Fatalf("%v", arts)
	}
	if c := conclusions(got); c != "0:success 1:success 2:success 3:success" {
		t.Error(c)
	}
	if n := got.Last().GetAnnotations(); len(n) != 1 || n[0].GetLevel() != "warning" || !strings.Contains(n[0].GetMessage(), "nowhere") {
		t.Errorf("%v", n)
	}
}

func TestAStepsOwnResourcesReachTheSandbox(t *testing.T) {
	got := make(chan sandbox.Resources, 1)
	h := newHost(t, fake.Options{Run: func(_ context.Context, s fake.Step) int {
		got <- s.Resources
		return 0
	}})
	h.up()
	run(t, h, "a1", sh("true", func(s *planv1.Step) { s.Resources = &planv1.Resources{CpuMilli: 500, Memory: 1 << 20, Pids: 7} }))
	if r := <-got; r != (sandbox.Resources{CPUMilli: 500, Memory: 1 << 20, PIDs: 7}) {
		t.Errorf("%+v", r)
	}
}
