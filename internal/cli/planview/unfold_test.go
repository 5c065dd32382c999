package planview

import (
	"fmt"
	"io/fs"
	"testing"

	"github.com/slipway-ci/slipway/internal/tui"
	"github.com/slipway-ci/slipway/pipeline/compile"
)

const caller = `name: Caller
on: push
jobs:
  first: {runs-on: ubuntu-latest, steps: [{run: echo}]}
  ship:
    name: Ship it
    needs: first
    uses: ./.slipway/ship.yml
    strategy: {matrix: {to: [eu, us]}}
    with: {to: "${{ matrix.to }}"}
  again: {if: github.ref == 'refs/heads/x', uses: ./.slipway/inner.yml}
  after: {needs: [Ship, again], if: always(), runs-on: ubuntu-latest, steps: [{run: echo}]}
`

var called = map[string]string{
	".slipway/ship.yml": `on: {workflow_call: {inputs: {to: {type: string}}}}
jobs:
  build: {runs-on: ubuntu-latest, steps: [{run: make, image: "${{ inputs.to }}"}]}
  put: {needs: build, uses: ./.slipway/inner.yml}
`,
	".slipway/inner.yml": `on: workflow_call
jobs:
  one: {name: One, runs-on: ubuntu-latest, steps: [{uses: docker://alpine}]}
  two: {needs: ONE, runs-on: ubuntu-latest, steps: [{run: 'echo "${{ github.event.head_commit.message }}"'}]}
`,
}

func unfolded(t *testing.T, src string, files map[string]string) *Workflow {
	t.Helper()
	plan, found := compile.Draft(".slipway/ci.yml", []byte(src), compile.Options{Read: func(path string) ([]byte, error) {
		if text, ok := files[path]; ok {
			return []byte(text), nil
		}
		return nil, fs.ErrNotExist
	}})
	if plan == nil {
		t.Fatal(found)
	}
	return New(Input{Plan: plan, Findings: found, Event: Event{Name: "push", Ref: "refs/heads/main"}, Starts: true, Unresolved: "no coordinator is set up here"})
}

// TestCallsAreUnfolded: with names as the run has them, what is skipped and unsupported in its place, and findings of the called files.
func TestCallsAreUnfolded(t *testing.T) {
	w := unfolded(t, caller, called)
	golden(t, "calls.txt", render(t, Text, tui.Style{}, 0, w))
	golden(t, "calls.json", render(t, JSON, tui.Style{}, 0, w))
	golden(t, "calls.dot", render(t, Dot, tui.Style{}, 0, w))
}

// TestManyCallsAreBounded: files of a few lines can lead to a hundred billion jobs.
func TestManyCallsAreBounded(t *testing.T) {
	files := map[string]string{".slipway/w9.yml": "on: workflow_call\njobs: {j: {runs-on: x, steps: [{run: a}]}}\n"}
	for i := 1; i < 9; i++ {
		src := "on: workflow_call\njobs:\n"
		for k := range 40 {
			src += fmt.Sprintf("  j%d: {uses: ./.slipway/w%d.yml}\n", k, i+1)
		}
		files[fmt.Sprintf(".slipway/w%d.yml", i)] = src
	}
	w := unfolded(t, "on: push\njobs: {j: {uses: ./.slipway/w1.yml}}\n", files)
	n, hidden := 0, 0
	for j := range all(w.Jobs) {
		n++
		if j.NotShown != "" {
			hidden++
		}
	}
	if n > mostUnfolded+1 || n < mostUnfolded/2 || hidden == 0 {
		t.Errorf("%d jobs are shown, %d of them folded", n, hidden)
	}
}

// TestActionsAreUnfolded: what a step uses is shown beneath it, as deep as actions use each other.
func TestActionsAreUnfolded(t *testing.T) {
	w := unfolded(t, `on: push
jobs:
  a:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
      - {name: Set up, uses: ./setup, if: always()}
      - uses: ./setup/js
`, map[string]string{
		"setup/action.yml":    "runs:\n  using: composite\n  steps:\n    - {run: make, shell: sh, if: inputs.x}\n    - {uses: ./setup/js}\n    - {uses: docker://alpine}\n",
		"setup/js/action.yml": "runs: {using: node20, main: x.js}\n",
	})
	golden(t, "actions.txt", render(t, Text, tui.Style{}, 0, w))
	golden(t, "actions.json", render(t, JSON, tui.Style{}, 0, w))
}
