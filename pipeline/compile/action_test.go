package compile

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/pipeline/diag"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// treeOf reads files from a map.
func treeOf(files map[string]string) Options {
	return Options{Read: func(path string) ([]byte, error) {
		if src, ok := files[path]; ok {
			return []byte(src), nil
		}
		return nil, fmt.Errorf("%s: %w", path, fs.ErrNotExist)
	}}
}

const setup = `name: Setup
inputs:
  who: {default: "${{ github.actor }}"}
  must: {required: true}
outputs:
  said: {value: "${{ steps.s.outputs.said }}"}
runs:
  using: composite
  steps:
    - {id: s, run: 'echo "said=${{ inputs.who }}" >> "$GITHUB_OUTPUT"', shell: "${{ inputs.must && 'sh' }}"}
    - {uses: ./deep, with: {a: 1}}
`

const deep = `runs:
  using: node20
  main: dist/main.js
  post: dist/post.js
  post-if: runner.os == 'Linux'
`

func withSteps(steps ...string) string {
	return on + "jobs:\n  a:\n    runs-on: x\n    steps:\n      - " + strings.Join(steps, "\n      - ") + "\n"
}

func TestActionsAreInThePlan(t *testing.T) {
	opt := treeOf(map[string]string{".github/actions/setup/action.yml": setup, "deep/action.yaml": deep})
	plan, found := Compile(".github/workflows/x.yml", []byte(withSteps("{uses: ./.github/actions/setup, with: {must: x, who: me}}", "uses: $/deep/")), opt)
	if plan == nil {
		t.Fatal(found)
	}
	steps := plan.GetJobs()[0].GetSteps()
	a := steps[0].GetAction()
	inner := a.GetComposite().GetSteps()
	if a.GetPath() != ".github/actions/setup" || a.GetFile() != "action.yml" || len(a.GetDigest()) != 64 || len(a.GetInputs()) != 2 || len(inner) != 2 ||
		a.GetInputs()[0].GetDefault().GetExpr() != "github.actor" || a.GetInputs()[1].GetDefault() != nil || a.GetComposite().GetOutputs()[0].GetValue().GetExpr() != "steps.s.outputs.said" {
		t.Fatal(a)
	}
	if inner[0].GetCondition() != "success()" || inner[0].GetRun().GetShell().GetExpr() == "" {
		t.Error(inner[0])
	}
	for _, n := range []*planv1.Action{inner[1].GetAction(), steps[1].GetAction()} {
		node := n.GetNode()
		if n.GetPath() != "deep" || n.GetFile() != "action.yaml" || node.GetVersion() != 20 || node.GetMain() != "dist/main.js" || node.GetPost() != "dist/post.js" ||
			node.GetPostIf() != "runner.os == 'Linux'" {
			t.Error(n)
		}
	}
}

// TestActionsBelowACheckout: a tree that is laid out in a directory has its actions there.
func TestActionsBelowACheckout(t *testing.T) {
	plan, found := Compile("x.yml", []byte(withSteps("{uses: actions/checkout@v4, with: {path: src/main}}", "uses: ./src/main/deep")), treeOf(map[string]string{"deep/action.yml": deep}))
	if plan == nil || plan.GetJobs()[0].GetSteps()[1].GetAction().GetPath() != "src/main/deep" {
		t.Fatal(found, plan)
	}
}

func codes(found diag.List) string {
	var out []string
	for _, d := range found {
		out = append(out, fmt.Sprintf("%s:%d:%d %s", d.Path, d.Line, d.Column, d.Code))
	}
	return strings.Join(out, "\n")
}

func TestActionFindings(t *testing.T) {
	composite := func(body string) string { return "name: a\nruns:\n  using: composite\n" + body }
	for name, c := range map[string]struct{ uses, action, want string }{
		"no such action":       {"./b", deep, "x.yml:6:15 unknown-action"},
		"outside":              {"./../a", deep, "x.yml:6:15 bad-uses"},
		"above":                {"../a", deep, "x.yml:6:15 bad-uses"},
		"with a version":       {"./a@v1", deep, "x.yml:6:15 bad-uses"},
		"its file":             {"./a/action.yml", deep, "x.yml:6:15 bad-uses"},
		"docker":               {"./a", "runs: {using: docker, image: Dockerfile}", "x.yml:6:15 not-supported"},
		"another kind":         {"./a", "runs: {using: node22, main: x}", "a/action.yml:1:15 bad-value"},
		"no runs":              {"./a", "name: x", "a/action.yml:1:1 missing-key"},
		"no using":             {"./a", "runs: {main: x}", "a/action.yml:1:7 missing-key"},
		"no main":              {"./a", "runs: {using: node20}", "a/action.yml:1:7 missing-key"},
		"key of another kind":  {"./a", "runs: {using: node20, main: x, steps: [{run: x, shell: sh}]}", "a/action.yml:1:32 unknown-key"},
		"no shell":             {"./a", composite("  steps: [{run: x}]"), "a/action.yml:4:11 missing-key"},
		"timeout":              {"./a", composite("  steps: [{run: x, shell: sh, timeout-minutes: 3}]"), "a/action.yml:4:31 unknown-key"},
		"secrets":              {"./a", composite("  steps: [{run: \"${{ secrets.x }}\", shell: sh}]"), "a/action.yml:4:22 bad-expression"},
		"needs":                {"./a", composite("  steps: [{run: x, shell: sh, if: needs.x}]"), "a/action.yml:4:35 bad-expression"},
		"no such input":        {"./a", composite("  steps: [{run: \"${{ inputs.x }}\", shell: sh}]"), "a/action.yml:4:22 unknown-reference"},
		"remote":               {"./a", composite("  steps: [{uses: a/b@v1}]"), "a/action.yml:4:18 not-supported"},
		"output without value": {"./a", composite("  steps: [{run: x, shell: sh}]\noutputs: {o: {description: d}}"), "a/action.yml:5:11 missing-key"},
		"unknown key":          {"./a", deep + "input: {}\n", "a/action.yml:6:1 unknown-key"},
		"uses itself":          {"./a", composite("  steps: [{uses: ./a}]"), "a/action.yml:4:18 action-cycle"},
		"not YAML":             {"./a", "a: [", "a/action.yml:1:1 not-yaml"},
		"pre":                  {"./a", deep + "  pre: x.js\n", "x.yml:6:15 ignored-pre"},
		"fine":                 {"./a", deep, ""},
	} {
		_, found := Compile("x.yml", []byte(withSteps("uses: "+c.uses)), treeOf(map[string]string{"a/action.yml": c.action}))
		if got := codes(found); !strings.HasPrefix(got, c.want) || c.want == "" && got != "" {
			t.Errorf("%s: got\n%s\nwant %s", name, found, c.want)
		}
	}
}

// TestKeysThatHoldForOneStep: of ours, some would have to hold for all steps of a composite action.
func TestKeysThatHoldForOneStep(t *testing.T) {
	opt := treeOf(map[string]string{".github/actions/setup/action.yml": setup, "deep/action.yml": deep})
	keys := ", retry: {attempts: 2}, resources: {cpu: 1}, reports: {junit: x}}"
	_, found := Compile(".slipway/x.yml", []byte(withSteps("{uses: ./.github/actions/setup, with: {must: 1}"+keys, "{uses: ./deep"+keys)), opt)
	if got := codes(found); strings.Count(got, ".slipway/x.yml:6:16 not-supported") != 3 || strings.Contains(got, "x.yml:7") {
		t.Error(found)
	}
}

func TestInputsOfAnAction(t *testing.T) {
	opt := treeOf(map[string]string{"a/action.yml": "inputs: {name: {required: true}, old: {deprecationMessage: use name}}\n" + deep})
	_, found := Compile("x.yml", []byte(withSteps("{uses: ./a, with: {nam: 1, OLD: 2}}")), opt)
	want := "x.yml:6:16 missing-input\nx.yml:6:28 unknown-input\nx.yml:6:41 deprecated-input"
	if got := codes(found); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestActionsAreBounded: what a job comes to is counted without being written out.
func TestActionsAreBounded(t *testing.T) {
	files := map[string]string{}
	body := func(inner string, n int) string {
		return "runs:\n  using: composite\n  steps:\n" + strings.Repeat("    - "+inner+"\n", n)
	}
	for i := range 9 {
		files[fmt.Sprintf("a%d/action.yml", i)] = body(fmt.Sprintf("uses: ./a%d", i+1), 30)
	}
	files["a9/action.yml"] = body("{run: x, shell: sh}", 30)
	_, found := Compile("x.yml", []byte(withSteps("uses: ./a0")), treeOf(files))
	if !strings.Contains(codes(found), "too-many-steps") {
		t.Error(found)
	}
	files["over/action.yml"] = body("uses: ./a0", 1)
	_, found = Compile("x.yml", []byte(withSteps("uses: ./over")), treeOf(files))
	if !strings.Contains(codes(found), "a8/action.yml:4:13 actions-too-deep") {
		t.Error(found)
	}
	files["long/action.yml"] = body("{run: '"+strings.Repeat("x", 2000)+"', shell: sh}", 300)
	_, found = Compile("x.yml", []byte(withSteps("uses: ./long", "uses: ./long")), treeOf(files))
	if !strings.Contains(codes(found), "actions-too-large") {
		t.Error(found)
	}
}

// TestLintsSeeIntoActions, and a comment in the action's own file allows one.
func TestLintsSeeIntoActions(t *testing.T) {
	src := "runs:\n  using: composite\n  steps:\n    - run: echo ${{ github.event.pull_request.title }}\n      shell: sh\n    - run: echo ${{ github.event.pull_request.body }} # slipway: allow script-injection: a test\n      shell: sh\n"
	_, found := Compile("x.yml", []byte(withSteps("uses: ./a")), treeOf(map[string]string{"a/action.yml": src}))
	if got := codes(found); !strings.Contains(got, "a/action.yml:4:") || !strings.Contains(got, "script-injection") || strings.Contains(got, ":6:") {
		t.Error(found)
	}
}

// TestOutputsOfActionsAreKnown: of a composite one all, of others none.
func TestOutputsOfActionsAreKnown(t *testing.T) {
	opt := treeOf(map[string]string{".github/actions/setup/action.yml": setup, "deep/action.yml": deep})
	src := withSteps("{id: a, uses: ./.github/actions/setup, with: {must: x}}", "{id: b, uses: ./deep}",
		"run: echo ${{ steps.a.outputs.SAID }} ${{ steps.a.outputs.siad }} ${{ steps.b.outputs.any }}")
	_, found := Compile("x.yml", []byte(src), opt)
	if got := codes(found); !strings.HasSuffix(got, "x.yml:8:51 unset-output") || strings.Count(got, "unset-output") != 1 {
		t.Error(found)
	}
}

func TestDraftOfADockerAction(t *testing.T) {
	plan, found := Draft("x.yml", []byte(withSteps("uses: ./a", "run: x")), treeOf(map[string]string{"a/action.yml": "runs: {using: docker, image: Dockerfile}"}))
	if plan == nil || plan.GetJobs()[0].GetSteps()[0].GetUnsupported().GetUses() != "./a" {
		t.Error(plan, found)
	}
}
