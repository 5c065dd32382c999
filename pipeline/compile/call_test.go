package compile

import (
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"time"
)

// tree reads files from memory.
func tree(files map[string]string) func(string) ([]byte, error) {
	return func(path string) ([]byte, error) {
		src, ok := files[path]
		if !ok {
			return nil, fs.ErrNotExist
		}
		return []byte(src), nil
	}
}

const (
	callable = "on: {workflow_call: {inputs: {s: {type: string}, b: {type: boolean, default: true}, n: {type: number, required: true}}, secrets: {T: {required: true}}, " +
		"outputs: {o: {value: '${{ jobs.j.outputs.x }}'}}}}\njobs: {j: {runs-on: x, steps: [{run: a}]}}\n"
	plain = "on: push\njobs: {j: {runs-on: x, steps: [{run: a}]}}\n"
)

// TestCalls: a call alone, in .github/workflows/ci.yml, against the findings that it must cause; none is a plan.
func TestCalls(t *testing.T) {
	files := map[string]string{
		".github/workflows/called.yml": callable, ".github/workflows/plain.yml": plain, ".slipway/ours.yml": callable,
		".github/workflows/bad.yml":    "on: workflow_call\njobs: {j: {runs-on: x, steps: [{rum: a}]}}\n",
		".github/workflows/writes.yml": "on: workflow_call\npermissions: {contents: read}\njobs:\n  j: {runs-on: x, permissions: write-all, steps: [{run: a}]}\n",
		".github/workflows/group.yml":  "on: workflow_call\nconcurrency: g\njobs: {j: {runs-on: x, steps: [{run: a}]}}\n",
		".github/workflows/types.yml": "on: {workflow_call: {inputs: {a: {}, b: {type: choice}, c: {type: boolean, default: 'yes'}, d: {type: string, default: '${{ needs.x }}'}}, " +
			"outputs: {o: {}, p: {value: '${{ steps.x }}'}}, secrets: {GITHUB_TOKEN: }}}\njobs: {j: {runs-on: x, steps: [{run: a}]}}\n",
	}
	uses := func(name, rest string) string { return "{uses: ./.github/workflows/" + name + rest + "}" }
	full := ", with: {n: 1}, secrets: inherit"
	for job, want := range map[string]string{
		uses("called.yml", full): "",
		uses("called.yml", ", with: {n: '${{ github.run_number }}'}, secrets: {T: '${{ secrets.T }}'}"): "",
		"{uses: $/.github/workflows/called.yml" + full + "}":                                            "",
		uses("called.yml", ", secrets: inherit"):                                                        "needs the input `n` (missing-input)",
		uses("called.yml", ", with: {n: 1}"):                                                            "needs the secret `T` (missing-secret)",
		uses("called.yml", ", with: {n: one}, secrets: inherit"):                                        "is a number, and this is not (wrong-type)",
		uses("called.yml", ", with: {n: 1, b: 'true'}, secrets: inherit"):                               "is a boolean, and this is not (wrong-type)",
		uses("called.yml", ", with: {n: 1, ss: x}, secrets: inherit"):                                   "has no input `ss` (unknown-input)\n  hint: did you mean `s`?",
		uses("called.yml", ", with: {n: 1}, secrets: {T: a, U: b}"):                                     "declares no secret `U` (unknown-secret)",
		uses("called.yml", ", with: {n: 1}, secrets: all"):                                              "must be inherit or a mapping, not `all`",
		uses("called.yml", ", with: {n: '${{ secrets.T }}'}, secrets: inherit"):                         "the context `secrets` does not exist",
		uses("called.yml", full+", env: {A: b}"):                                                        "`env` is for jobs with `steps`",
		uses("called.yml", full+", timeout-minutes: 3"):                                                 "`timeout-minutes` is for jobs with `steps`",
		uses("plain.yml", ""):                                  "its `on` does not name workflow_call (not-callable)",
		uses("none.yml", ""):                                   "the source tree has no `.github/workflows/none.yml` (unknown-workflow)",
		uses("a/b.yml", ""):                                    "not in a folder below",
		uses("../x.yml", ""):                                   "bad-uses",
		uses("called.yml@v1", ""):                              "takes no version",
		uses("bad.yml", ""):                                    ".github/workflows/bad.yml:2:33: error: unknown key `rum`",
		uses("group.yml", ", concurrency: h"):                  "together with that of the workflow",
		uses("group.yml", ""):                                  "",
		uses("types.yml", ""):                                  "the input `a` of workflow_call has no `type`",
		uses("types.yml", ", strategy: {}"):                    "string, boolean or number, not `choice`",
		uses("types.yml", ", if: true"):                        "the default of the input `c` must be a boolean",
		uses("types.yml", ", name: a"):                         "`needs` does not exist in the default of an input",
		uses("types.yml", ", name: b"):                         "the output `o` has no `value`",
		uses("types.yml", ", name: c"):                         "`steps` does not exist in an output of `workflow_call`",
		uses("types.yml", ", name: d"):                         "`GITHUB_TOKEN` can't be the name of a secret",
		"{uses: ./.slipway/ours.yml" + full + "}":              "a file in .github/ can't call one in .slipway/",
		"{uses: a/b/.github/workflows/x.yml@v1}":               "workflows of other repositories",
		"{uses: nonsense}":                                     "`nonsense` is not a workflow (bad-uses)",
		"{runs-on: x, with: {a: b}, steps: [{run: a}]}":        "`with` is for jobs that call a workflow",
		"{runs-on: x, secrets: inherit, steps: [{run: a}]}":    "`secrets` is for jobs that call a workflow",
		uses("writes.yml", ", permissions: {contents: write}"): "wants `actions: write`, and the call grants `actions: none`",
		uses("writes.yml", ", permissions: write-all"):         "",
		uses("writes.yml", ""):                                 "",
	} {
		plan, found := Compile(".github/workflows/ci.yml", []byte("on: push\njobs:\n  c: "+job+"\n"), Options{Read: tree(files)})
		if !strings.Contains(found.String(), want) || want == "" && len(found) > 0 || (plan == nil) != found.HasErrors() {
			t.Errorf("%s: %s\nwant %s", job, found, want)
		}
	}
	if plan, found := Compile(".slipway/ci.yml", []byte("on: push\njobs:\n  c: {uses: ./.slipway/ours.yml"+full+"}\n"), Options{Read: tree(files)}); plan == nil {
		t.Error(found)
	}
}

func TestACalledWorkflowIsInThePlanOnce(t *testing.T) {
	plan, found := Compile(".github/workflows/ci.yml", []byte("on: push\njobs:\n  a: {uses: ./.github/workflows/c.yml, with: {n: 2}, secrets: inherit}\n"+
		"  b: {uses: $/.github/workflows/c.yml, with: {n: '${{ 1 }}'}, secrets: {T: x}, permissions: {contents: read}}\n"), Options{Read: tree(map[string]string{".github/workflows/c.yml": callable})})
	if plan == nil || len(plan.GetWorkflows()) != 1 {
		t.Fatal(plan, found)
	}
	w, a, b := plan.GetWorkflows()[0], plan.GetJobs()[0].GetCall(), plan.GetJobs()[1]
	if a.GetPath() != w.GetPath() || a.GetWith()[0].GetValue().GetExpr() != "2" || !a.GetInheritSecrets() || b.GetCall().GetInheritSecrets() ||
		b.GetCall().GetSecrets()[0].GetName() != "T" || b.GetPermissions().GetScopes()[0].GetScope() != "contents" {
		t.Errorf("%v %v", a, b)
	}
	if in := w.GetInputs(); in[1].GetDefaultValue().GetExpr() != "true" || in[0].GetDefaultValue() != nil || !in[2].GetRequired() || !w.GetSecrets()[0].GetRequired() ||
		w.GetOutputs()[0].GetValue().GetExpr() != "jobs.j.outputs.x" {
		t.Errorf("%v", w)
	}
}

// chain is a workflow that calls the next one, n levels deep in all.
// TestOutputsOfCalls: what a call's `needs` can have is what the called workflow declares.
func TestOutputsOfCalls(t *testing.T) {
	src := "on: push\njobs:\n  c: {uses: ./.github/workflows/c.yml, with: {n: 2}, secrets: inherit}\n" +
		"  d: {needs: c, runs-on: x, steps: [{run: 'echo ${{ needs.c.outputs.O }} ${{ needs.c.outputs.oo }} ${{ needs.c.result }}'}]}\n"
	_, found := Compile(".github/workflows/ci.yml", []byte(src), Options{Read: tree(map[string]string{".github/workflows/c.yml": callable})})
	const want = "ci.yml:4:78: warning: `needs.c.outputs.oo` is always empty: `.github/workflows/c.yml`, which the job `c` calls, declares no such output (unset-output)\n  hint: did you mean `o`?"
	if got := found.String(); !strings.Contains(got, want) || strings.Count(got, "unset-output") != 1 {
		t.Errorf("%s\nwant %s", got, want)
	}
}

func chain(n int) map[string]string {
	files := map[string]string{}
	for i := 1; i < n; i++ {
		files[fmt.Sprintf(".github/workflows/w%d.yml", i)] = fmt.Sprintf("on: workflow_call\njobs: {j: {uses: ./.github/workflows/w%d.yml}}\n", i+1)
	}
	files[fmt.Sprintf(".github/workflows/w%d.yml", n)] = "on: workflow_call\njobs: {j: {runs-on: x, steps: [{run: a}]}}\n"
	return files
}

func TestBoundsOfCalls(t *testing.T) {
	compile := func(files map[string]string, src string) string {
		_, found := Compile(".github/workflows/ci.yml", []byte(src), Options{Read: tree(files)})
		return found.String()
	}
	const first = "on: push\njobs: {j: {uses: ./.github/workflows/w1.yml}}\n"
	if got := compile(chain(9), first); got != "" {
		t.Errorf("ten levels: %s", got)
	}
	if got := compile(chain(10), first); !strings.Contains(got, "calls-too-deep") {
		t.Errorf("eleven levels: %s", got)
	}
	if got := compile(map[string]string{".github/workflows/w1.yml": "on: workflow_call\njobs: {j: {uses: ./.github/workflows/w1.yml}}\n"}, first); !strings.Contains(got,
		"for ever: .github/workflows/w1.yml → .github/workflows/w1.yml (call-cycle)") {
		t.Errorf("a cycle: %s", got)
	}
	many, calls := map[string]string{}, "on: push\njobs:\n"
	for i := range 51 {
		many[fmt.Sprintf(".github/workflows/m%d.yml", i)] = "on: workflow_call\njobs: {j: {runs-on: x, steps: [{run: a}]}}\n"
		calls += fmt.Sprintf("  j%d: {uses: ./.github/workflows/m%d.yml}\n", i, i)
		if i == 49 {
			if got := compile(many, calls); got != "" {
				t.Errorf("fifty: %s", got)
			}
		}
	}
	if got := compile(many, calls); !strings.Contains(got, "too-many-calls") {
		t.Errorf("fifty-one: %s", got)
	}
	// Each level calls the next one forty times: a hundred billion ways, each workflow followed once.
	wide := map[string]string{}
	for i := 1; i < 9; i++ {
		src := "on: workflow_call\njobs:\n"
		for k := range 40 {
			src += fmt.Sprintf("  j%d: {uses: ./.github/workflows/w%d.yml}\n", k, i+1)
		}
		wide[fmt.Sprintf(".github/workflows/w%d.yml", i)] = src
	}
	wide[".github/workflows/w9.yml"] = "on: workflow_call\njobs: {j: {runs-on: x, steps: [{run: a}]}}\n"
	begin := time.Now()
	if got := compile(wide, first); got != "" {
		t.Error(got)
	}
	t.Log(time.Since(begin))
}

// TestACalledWorkflowIsLinted: its findings have its own positions, and its comments allow only its own.
func TestACalledWorkflowIsLinted(t *testing.T) {
	const step = "on: workflow_call\njobs:\n  j:\n    runs-on: x\n    steps:\n      - uses: someone/thing@v1%s\n"
	const call = "on: push\n%sjobs: {c: {uses: ./.slipway/c.yml}}\n"
	lint := func(comment, above string) string {
		_, found := Draft(".slipway/ci.yml", fmt.Appendf(nil, call, above), Options{Read: tree(map[string]string{".slipway/c.yml": fmt.Sprintf(step, comment)})})
		return found.String()
	}
	const want = ".slipway/c.yml:6:15: warning: `someone/thing@v1` is somebody else's tag"
	if got := lint("", ""); strings.Count(got, want) != 1 {
		t.Errorf("no %q in %s", want, got)
	}
	if got := lint(" # slipway: allow unpinned-action: it is ours", ""); strings.Contains(got, "unpinned-action") {
		t.Errorf("allowed, and found all the same: %s", got)
	}
	if got := lint("", "# slipway: allow unpinned-action: of another file\n"); !strings.Contains(got, want) || !strings.Contains(got, ".slipway/ci.yml:2:1: warning") {
		t.Errorf("the caller's comment: %s", got)
	}
}
