package scenarios

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestNeedsAndOutputs: outputs pass from job to job, and through a diamond.
func TestNeedsAndOutputs(t *testing.T) {
	t.Parallel()
	o := workflow(t, `
on: push
defaults: {run: {shell: sh}}
jobs:
  first:
    runs-on: busybox
    outputs:
      word: ${{ steps.say.outputs.word }}
      lines: ${{ steps.say.outputs.lines }}
      missing: ${{ steps.say.outputs.nope }}
    steps:
      - id: say
        run: |
          echo "word=hällo = wörld" >> "$GITHUB_OUTPUT"
          printf 'lines<<END\none\n\ntwo=2\nEND\n' >> "$GITHUB_OUTPUT"
  left:
    runs-on: busybox
    needs: first
    outputs: {n: "${{ steps.x.outputs.n }}"}
    steps:
      - {id: x, run: 'echo n=1 >> "$GITHUB_OUTPUT"'}
  right:
    runs-on: busybox
    needs: [first]
    outputs: {n: "${{ fromJSON(steps.x.outputs.n) }}"}
    steps:
      - {id: x, run: 'echo n=41 >> "$GITHUB_OUTPUT"'}
  last:
    name: Last of ${{ needs.first.outputs.word }}
    runs-on: busybox
    needs: [left, right, first]
    env:
      LINES: ${{ needs.first.outputs.lines }}
    steps:
      - run: |
          echo "$LINES"
          echo "${{ needs.left.outputs.n }} ${{ needs.right.outputs.n }} [${{ needs.first.outputs.missing }}] ${{ needs.left.result }}"
          echo "${{ toJSON(needs.right) }}"
`).run(succeeded)
	o.wantStates("first SUCCEEDED, left SUCCEEDED, right SUCCEEDED, last SUCCEEDED")
	o.wantLog("last", "one\n\ntwo=2\n1 41 [] success\n{\n  result: success,\n  outputs: {\n    n: 41\n  }\n}\n")
	if name := o.job("last").GetName(); name != "Last of hällo = wörld" {
		t.Errorf("name %q", name)
	}
	if got := o.job("first").GetOutputs(); got["word"] != "hällo = wörld" || got["lines"] != "one\n\ntwo=2" {
		t.Errorf("outputs %q", got)
	}
}

// TestMatrix: include, exclude, names, order of the legs, and what a leg sees.
func TestMatrix(t *testing.T) {
	t.Parallel()
	o := workflow(t, oneJob(`
strategy:
  matrix:
    os: [linux, BSD]
    v: [1, 2.5]
    exclude:
      - {os: bsd, v: 1}
    include:
      - {os: linux, extra: yes please}
      - {os: plan9, v: 3}
defaults: {run: {shell: sh}}
steps:
  - run: echo "${{ matrix.os }} ${{ matrix.v }} [${{ matrix.extra }}] ${{ strategy.job-index }}/${{ strategy.job-total }} ${{ strategy.fail-fast }}"
`)).run(succeeded)
	var got []string
	for _, j := range o.run.GetJobs() {
		got = append(got, fmt.Sprintf("%s %s: %s", j.GetId(), j.GetName(), strings.TrimSpace(o.log(j.GetId()))))
	}
	want := []string{
		"a.0 a (linux, 1): linux 1 [yes please] 0/4 true",
		"a.1 a (linux, 2.5): linux 2.5 [yes please] 1/4 true",
		"a.2 a (BSD, 2.5): BSD 2.5 [] 2/4 true",
		"a.3 a (plan9, 3): plan9 3 [] 3/4 true",
	}
	if !slices.Equal(got, want) {
		t.Errorf("legs\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestMatrixFromOutput: the legs come from a job before.
func TestMatrixFromOutput(t *testing.T) {
	t.Parallel()
	o := workflow(t, `
on: push
defaults: {run: {shell: sh}}
jobs:
  plan:
    runs-on: busybox
    outputs: {legs: "${{ steps.x.outputs.legs }}"}
    steps:
      - {id: x, run: "echo 'legs=[\"x\",\"y\"]' >> $GITHUB_OUTPUT"}
  work:
    needs: plan
    runs-on: busybox
    strategy: {matrix: {leg: "${{ fromJSON(needs.plan.outputs.legs) }}"}}
    outputs: {leg: "${{ matrix.leg }}"}
    steps: [{run: "echo ${{ matrix.leg }}"}]
  after:
    needs: work
    runs-on: busybox
    steps: [{run: "echo ${{ needs.work.result }}"}]
`).run(succeeded)
	o.wantLog("work.0", "x\n")
	o.wantLog("work.1", "y\n")
	o.wantLog("after", "success\n")
}

// TestFailFast: a failing leg cancels the others, which run and which wait; without fail-fast they go on.
func TestFailFast(t *testing.T) {
	t.Parallel()
	const text = `
strategy:
  fail-fast: %t
  max-parallel: 2
  matrix: {leg: [slow, bad, later]}
defaults: {run: {shell: sh}}
steps:
  - run: |
      case ${{ matrix.leg }} in
        bad) exit 7 ;;
        slow) echo begins; %s ;;
      esac
      echo done
`
	t.Run("on", func(t *testing.T) {
		t.Parallel()
		o := workflow(t, oneJob(fmt.Sprintf(text, true, "sleep 60"))).run(failed)
		o.wantStates("a.0 CANCELLED, a.1 FAILED, a.2 CANCELLED")
		if code := o.job("a.1").GetSteps()[1].GetExitCode(); code != 7 {
			t.Errorf("exit code %d, want 7", code)
		}
	})
	t.Run("off", func(t *testing.T) {
		t.Parallel()
		o := workflow(t, oneJob(fmt.Sprintf(text, false, "true"))).run(failed)
		o.wantStates("a.0 SUCCEEDED, a.1 FAILED, a.2 SUCCEEDED")
	})
}

// TestMaxParallel: no more legs at once than allowed, and that many do run at once.
//
// It runs alone: other scenarios' jobs would take the slots.
func TestMaxParallel(t *testing.T) {
	o := workflow(t, oneJob(`
strategy:
  max-parallel: 2
  matrix: {leg: [1, 2, 3, 4]}
steps: [{run: sleep 1, shell: sh}]
`)).run(succeeded)
	type edge struct {
		at    int64
		delta int
	}
	var edges []edge
	for _, j := range o.run.GetJobs() {
		edges = append(edges, edge{j.GetStartedMs(), 1}, edge{j.GetEndedMs(), -1})
	}
	slices.SortFunc(edges, func(a, b edge) int {
		if a.at != b.at {
			return int(a.at - b.at)
		}
		return a.delta - b.delta
	})
	now, most := 0, 0
	for _, e := range edges {
		now += e.delta
		most = max(most, now)
	}
	if most != 2 {
		t.Errorf("%d legs ran at once, want 2: %v", most, edges)
	}
}

// TestConditionsOfJobs: what runs after failures and skips.
func TestConditionsOfJobs(t *testing.T) {
	t.Parallel()
	o := workflow(t, `
on: push
defaults: {run: {shell: sh}}
jobs:
  good: {runs-on: busybox, steps: [{run: "true"}]}
  bad: {runs-on: busybox, steps: [{run: "exit 3"}]}
  off: {runs-on: busybox, if: "github.ref == 'refs/heads/nope'", steps: [{run: "true"}]}
  after-bad: {runs-on: busybox, needs: [good, bad], steps: [{run: "true"}]}
  after-off: {runs-on: busybox, needs: off, steps: [{run: "true"}]}
  after-after-off: {runs-on: busybox, needs: after-off, steps: [{run: "true"}]}
  if-failed: {runs-on: busybox, needs: [good, bad], if: failure(), steps: [{run: "echo ${{ needs.bad.result }}"}]}
  not-failed: {runs-on: busybox, needs: good, if: failure(), steps: [{run: "true"}]}
  always: {runs-on: busybox, needs: [after-bad, after-after-off], if: always(), steps: [{run: "echo ${{ needs.after-bad.result }} ${{ needs.after-after-off.result }}"}]}
  not-cancelled: {runs-on: busybox, needs: bad, if: "!cancelled()", steps: [{run: "true"}]}
  either: {runs-on: busybox, needs: [bad, off], if: "always() && needs.bad.result == 'failure' && needs.off.result == 'skipped'", steps: [{run: "true"}]}
`).run(failed)
	o.wantStates("good SUCCEEDED, bad FAILED, off SKIPPED, after-bad SKIPPED, after-off SKIPPED, after-after-off SKIPPED, " +
		"if-failed SUCCEEDED, not-failed SKIPPED, always SUCCEEDED, not-cancelled SUCCEEDED, either SUCCEEDED")
	o.wantLog("if-failed", "failure\n")
	o.wantLog("always", "skipped skipped\n")
	for _, id := range []string{"off", "after-bad", "after-off"} {
		if o.job(id).GetReason() == "" {
			t.Errorf("job %s is skipped without a reason", id)
		}
	}
}

// TestContinueOnError of a job and of a leg: the run succeeds although they fail.
func TestContinueOnErrorOfJobs(t *testing.T) {
	t.Parallel()
	o := workflow(t, `
on: push
defaults: {run: {shell: sh}}
jobs:
  flaky: {runs-on: busybox, continue-on-error: true, steps: [{run: "exit 1"}]}
  legs:
    runs-on: busybox
    continue-on-error: ${{ matrix.experimental }}
    strategy: {fail-fast: true, matrix: {experimental: [true, false]}}
    steps: [{run: "sleep 0.5; exit ${{ matrix.experimental && 1 || 0 }}"}]
  after: {runs-on: busybox, needs: [flaky, legs], steps: [{run: "echo ${{ needs.flaky.result }} ${{ needs.legs.result }}"}]}
`).run(succeeded)
	o.wantStates("flaky FAILED, legs.0 FAILED, legs.1 SUCCEEDED, after SUCCEEDED")
	o.wantLog("after", "success success\n")
}

// TestAllJobsSkipped is a success with nothing done.
func TestAllJobsSkipped(t *testing.T) {
	t.Parallel()
	o := workflow(t, oneJob("if: false\n"+oneLine+"\n")).run(succeeded)
	o.wantStates("a SKIPPED")
}
