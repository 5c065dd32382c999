package simulation

import (
	"context"
	"fmt"
	"io/fs"
	"strings"

	"github.com/slipway-ci/slipway/coordinator/config"
	"github.com/slipway-ci/slipway/coordinator/engine"
	"github.com/slipway-ci/slipway/pipeline/compile"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// runners is what the coordinators are configured with.
var runners = map[string]config.Runner{"ubuntu-latest": {Image: "runner", Pool: pool}}

// shapes are the workflows that clients submit: graphs with needs, matrices, retries, conditions.
var shapes = []string{
	`
jobs:
  only: {STEPS1}
`, `
jobs:
  a: {STEPS1}
  b: {needs: a, STEPS1}
`, `
jobs:
  a: {STEPS1}
  b: {needs: a, STEPS2}
  c: {needs: a, STEPS1}
  d: {needs: [b, c], STEPS1}
`, `
jobs:
  build: {STEPS1}
  test:
    needs: build
    strategy: {matrix: {n: [1, 2, 3]}, fail-fast: false}
    STEPS1
`, `
jobs:
  test:
    strategy: {matrix: {n: [1, 2, 3, 4]}, max-parallel: 2}
    STEPS1
  after: {needs: test, if: always(), STEPS1}
`, `
jobs:
  flaky: {retry: {attempts: 3, on: [lost, failure, timeout], backoff: 2s}, STEPS2}
  next: {needs: flaky, STEPS1}
`, `
jobs:
  a: {retry: {attempts: 4, on: [lost]}, STEPS1}
  b: {retry: {attempts: 4, on: [lost]}, STEPS1}
`, `
jobs:
  slow: {timeout-minutes: 0.2, STEPS2}
  clean: {needs: slow, if: failure() || cancelled(), STEPS1}
`, `
jobs:
  main:
    runs-on: ubuntu-latest
    steps: [{run: one}, {run: two, continue-on-error: true}, {run: three, if: always()}]
  notify: {needs: main, if: "!cancelled()", STEPS1}
`, `
concurrency: release
jobs:
  one: {STEPS1}
  two: {needs: one, STEPS1}
`, `
concurrency: {group: branch, cancel-in-progress: true}
jobs:
  only: {STEPS2}
`, `
jobs:
  build: {STEPS1}
  deploy: {needs: build, concurrency: {group: production, queue: max}, STEPS1}
`, `
jobs:
  deploy:
    strategy: {matrix: {n: [1, 2]}}
    concurrency: "site-${{ matrix.n }}"
    STEPS1
`, `
jobs:
  a: {STEPS1}
  wide:
    needs: a
    if: failure()
    strategy: {matrix: {n: WIDE}, max-parallel: 3}
    STEPS1
`, `
jobs:
  build: {STEPS1}
  deploy: {needs: build, uses: ./.slipway/called.yml}
  after: {needs: deploy, if: always(), STEPS1}
`,
}

// called is the workflow that one of the shapes calls.
const called = `
on: workflow_call
jobs:
  plan: {runs-on: ubuntu-latest, steps: [{run: one}]}
  apply: {needs: plan, runs-on: ubuntu-latest, steps: [{run: one}]}
`

func readCalled(path string) ([]byte, error) {
	if path != ".slipway/called.yml" {
		return nil, fs.ErrNotExist
	}
	return []byte(called), nil
}

// wideAxis has more legs than one transaction takes, so that a run's creation and its skips are several.
func wideAxis() string {
	var b strings.Builder
	for i := range 50 {
		fmt.Fprintf(&b, "%d, ", i)
	}
	return "[" + strings.TrimSuffix(b.String(), ", ") + "]"
}

// planStore holds the compiled shapes. They never change, and all simulations of a process share them.
type planStore map[string]*planv1.Plan

// LoadPlan implements engine.PlanLoader.
func (p planStore) LoadPlan(_ context.Context, digest string) (*planv1.Plan, error) {
	if plan := p[digest]; plan != nil {
		return plan, nil
	}
	return nil, fmt.Errorf("no plan %s", digest)
}

func digestOf(i int) string { return fmt.Sprintf("sha256:%064d", i) }

// compileShapes compiles the workload with the production compiler.
func compileShapes() (planStore, error) {
	out := planStore{}
	for i, s := range shapes {
		s = "on: push" + s
		s = strings.ReplaceAll(s, "WIDE", wideAxis())
		s = strings.ReplaceAll(s, "    STEPS1\n", "    runs-on: ubuntu-latest\n    steps: [{run: one}]\n")
		s = strings.ReplaceAll(s, "STEPS1", "runs-on: ubuntu-latest, steps: [{run: one}]")
		s = strings.ReplaceAll(s, "STEPS2", "runs-on: ubuntu-latest, steps: [{run: one}, {run: two}]")
		plan, found := compile.Compile(".slipway/shape.yml", []byte(s), compile.Options{Read: readCalled})
		if plan == nil {
			return nil, fmt.Errorf("shape %d: %v", i, found)
		}
		plan.Images = map[string]string{"ubuntu-latest": "registry/runner@sha256:1"}
		out[digestOf(i)] = plan
	}
	return out, nil
}

// submission is what a client wants to run.
func (w *world) submission(request string, project, shape int) engine.Submission {
	return engine.Submission{RequestID: request, Project: fmt.Sprintf("team/p%d", project), Plan: w.plans[digestOf(shape)], PlanDigest: digestOf(shape), Event: "push", Actor: "ada",
		Source: source}
}
