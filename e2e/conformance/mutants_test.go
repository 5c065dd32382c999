package conformance

// mutation inverts one rule in the code.
type mutation struct {
	rule string
	// what becomes of the rule.
	what string
	// file of the repository, in which old stands exactly once and becomes new. new asks package mutant which rule is inverted.
	file, old, new string
	// cases that are run; at least one must notice.
	cases []string
}

// mutantPackage is put into the copy of the code, so that one build has all mutations.
const mutantPackage = `package mutant

import "os"

var inverted = os.Getenv("SLIPWAY_MUTANT")

// On says whether a rule is inverted.
func On(rule string) bool { return inverted == rule }

// Pick returns what is, or what becomes of it.
func Pick[T any](rule string, is, becomes T) T {
	if On(rule) {
		return becomes
	}
	return is
}
`

// mutations are a sample of the rules. TestMutations runs them and writes MUTATIONS.md.
var mutations = []mutation{
	{"E1a", "only what stands in ${{ }} counts", "pipeline/check/check.go", "if len(parts) > 1 && expr.Length(", `if len(parts) > 1 && !mutant.On("E1a") && expr.Length(`,
		[]string{"expressions/length-counts-the-whole-text"}},
	{"E1e", "literals in any case", "pipeline/expr/lex.go", "switch text {\n\tcase \"null\":", "switch mutant.Pick(\"E1e\", text, strings.ToLower(text)) {\n\tcase \"null\":",
		[]string{"expressions/literals-in-exact-case"}},
	{"E2b", "comparisons are right-associative", "pipeline/expr/parse.go", "\t\tright, err := operand()\n",
		"\t\tnext := operand\n\t\tif mutant.On(\"E2b\") {\n\t\t\tnext = func() (node, error) { return p.comparison(operand, operators...) }\n\t\t}\n\t\tright, err := next()\n",
		[]string{"expressions/left-associative"}},
	{"E2e", "empty objects and arrays are false", "pipeline/expr/coerce.go", "\tcase KindArray, KindObject:\n\t\treturn true\n",
		"\tcase KindArray, KindObject:\n\t\treturn !mutant.On(\"E2e\") || len(values(v)) > 0\n", []string{"expressions/containers-are-true"}},
	{"E3b", "a text beside a number is no number", "pipeline/expr/compare.go", "b = Number(ParseNumber(b.str))", `b = Number(mutant.Pick("E3b", ParseNumber(b.str), math.NaN()))`,
		[]string{"expressions/equality-of-text-and-number"}},
	{"E3d", "texts are equal in the same case only", "pipeline/expr/compare.go", "return equalFold(a.str, b.str)", `return mutant.Pick("E3d", equalFold(a.str, b.str), a.str == b.str)`,
		[]string{"expressions/texts-without-case", "expressions/contains"}},
	{"E5b", "what lacks the property stays, as null", "pipeline/expr/eval.go", "return []Value{found}\n\t\t\t}\n",
		"return []Value{found}\n\t\t\t}\n\t\t\tif mutant.On(\"E5b\") {\n\t\t\t\treturn []Value{Null()}\n\t\t\t}\n", []string{"expressions/star-drops-what-lacks-the-property"}},
	{"J1a", "an `if` stands for itself", "pipeline/check/condition.go", `return "success() && (" + src + ")", whole`, `return mutant.Pick("J1a", "success() && ("+src+")", src), whole`,
		[]string{"steps/if-implies-success", "jobs/if-implies-success"}},
	{"J1b", "only the end of an `if` is searched for a status function", "pipeline/check/condition.go", "err == nil && e.Calls(statusFunctions...)",
		`err == nil && e.Calls(statusFunctions...) && (!mutant.On("J1b") || strings.HasSuffix(strings.TrimSpace(src), "()"))`,
		[]string{"steps/if-status-function-anywhere", "expressions/status-functions-with-jobs"}},
	{"J2b", "a cancel ends every running step", "agent/runner/step.go", "return hard || soft && !t.holdsNow(e)", `return hard || soft && (mutant.On("J2b") || !t.holdsNow(e))`,
		[]string{"steps/cancel-lets-always-run-on"}},
	{"J3", "success() and failure() inside an action look at the job", "agent/runner/scope.go", "return s.inside(e.within, e.within, env)",
		`return s.inside(e.within, mutant.Pick("J3", e.within, 0), env)`, []string{"actions/composite-status"}},
	{"J4a", "the job's env goes over GITHUB_ENV", "agent/runner/scope.go", "return commands.Merge(slices.Clone(t.values.base.Env), t.values.env...)",
		"if mutant.On(\"J4a\") {\n\t\treturn commands.Merge(slices.Clone(t.values.env), t.values.base.Env...)\n\t}\n\treturn commands.Merge(slices.Clone(t.values.base.Env), t.values.env...)",
		[]string{"steps/env-levels"}},
	{"J4e", "GITHUB_ENV takes NODE_OPTIONS", "agent/commands/files.go", `strings.EqualFold(p.Name, "NODE_OPTIONS")`, `strings.EqualFold(p.Name, "NODE_OPTIONS") && !mutant.On("J4e")`,
		[]string{"steps/github-env-refuses-node-options"}},
	{"J5a", "`<<` decides wherever it stands", "agent/commands/files.go", "case here >= 0 && (eq < 0 || here < eq):", `case here >= 0 && (eq < 0 || here < eq || mutant.On("J5a")):`,
		[]string{"steps/output-syntax"}},
	{"J5b", "space around a delimiter does not count", "agent/commands/files.go", "if line == delimiter {", `if line == delimiter || mutant.On("J5b") && strings.TrimSpace(line) == delimiter {`,
		[]string{"steps/heredoc-delimiter-is-exact"}},
	{"J5d", "the latest entry of GITHUB_PATH comes last", "agent/runner/values.go", "\tfor _, p := range v.Path {\n\t\tvs.paths =",
		"\tfor _, p := range v.Path {\n\t\tif mutant.On(\"J5d\") {\n\t\t\tvs.paths = append(vs.paths, p)\n\t\t\tcontinue\n\t\t}\n\t\tvs.paths =", []string{"steps/path"}},
	{"J6c", "a masked value may be a job's output", "agent/runner/finish.go", "if t.values.hide.Hides(p.Value) {", `if t.values.hide.Hides(p.Value) && !mutant.On("J6c") {`,
		[]string{"steps/masked-output-is-dropped"}},
	{"J7", "post steps run first in, first out", "agent/runner/entries.go", "main := all[mains-1-i]", `main := all[mutant.Pick("J7", mains-1-i, i)]`,
		[]string{"actions/node-state-and-post"}},
	{"J8b", "an explicit bash has no pipefail", "agent/runner/shell.go", `template = "bash --noprofile --norc -e -o pipefail {0}"`,
		`template = mutant.Pick("J8b", "bash --noprofile --norc -e -o pipefail {0}", "bash --noprofile --norc -e {0}")`, []string{"steps/shell-bash"}},
	{"J8e", "a job's defaults enter its actions", "agent/runner/exec.go", "\tif e.within != 0 {\n\t\tshells,", "\tif e.within != 0 && !mutant.On(\"J8e\") {\n\t\tshells,",
		[]string{"actions/defaults-do-not-enter"}},
	{"J9a", "the first axis is the fastest", "pipeline/matrix/matrix.go", "\t\t\tblock /= len(a.items)\n\t\t\to.Set(a.name, a.items[i/block%len(a.items)])",
		"\t\t\tbefore := size / block\n\t\t\tblock /= len(a.items)\n\t\t\to.Set(a.name, a.items[i/mutant.Pick(\"J9a\", block, before)%len(a.items)])", []string{"matrix/order-and-names"}},
	{"J9c", "include extends every leg", "pipeline/matrix/matrix.go", "\t\t\tif entry.matches(combination) {\n", "\t\t\tif entry.matches(combination) || mutant.On(\"J9c\") {\n",
		[]string{"matrix/include-extends"}},
	{"J10a", "fail-fast is off by default", "coordinator/engine/wants.go", "resolve.Bool(s.GetFailFast(), env, true)", `resolve.Bool(s.GetFailFast(), env, !mutant.On("J10a"))`,
		[]string{"matrix/fail-fast-in-a-row"}},
	{"J10c", "the first leg wins outputs", "pipeline/graph/progress.go", `!there || output.Value != ""`, `!there || output.Value != "" && !mutant.On("J10c")`,
		[]string{"matrix/last-leg-wins-outputs"}},
	{"J11a", "a skip is as good as a success", "pipeline/graph/progress.go", "j.allSucceeded && j.result == Success", `j.allSucceeded && (j.result == Success || mutant.On("J11a") && j.result == Skipped)`,
		[]string{"jobs/skip-propagates"}},
	{"J12a", "the conclusion is the outcome", "agent/runner/step.go", "\tif x.outcome == corev1.Result_RESULT_FAILURE && lenient {\n\t\trec.Conclusion",
		"\tif x.outcome == corev1.Result_RESULT_FAILURE && lenient && !mutant.On(\"J12a\") {\n\t\trec.Conclusion", []string{"steps/outcome-and-conclusion"}},
	{"J13a", "all that come wait for a group", "coordinator/engine/group.go", "if !newest.hold.GetQueueAll() || i >= maxQueue {", `if !newest.hold.GetQueueAll() && !mutant.On("J13a") || i >= maxQueue {`,
		[]string{"groups/one-runs-and-the-newest-waits"}},
	{"J14b", "a service that is unhealthy does no harm", "agent/sandbox/containerd/health.go", "\t\t\treturn unhealthy(failures, time.Since(began), late, output, err)",
		"\t\t\tif mutant.On(\"J14b\") {\n\t\t\t\treturn nil\n\t\t\t}\n\t\t\treturn unhealthy(failures, time.Since(began), late, output, err)", []string{"services/unhealthy"}},
	{"J17a", "a called workflow has its caller's env", "coordinator/engine/wants.go", "\tif sc.workflow != nil {\n\t\t// The caller's env is not inherited.",
		"\tif sc.workflow != nil && !mutant.On(\"J17a\") {\n\t\t// The caller's env is not inherited.", []string{"calls/env-is-not-inherited"}},
	{"J19a", "naming one permission leaves the others as they are", "pipeline/check/permissions.go", "\treturn \"none\"\n", "\treturn mutant.Pick(\"J19a\", \"none\", \"write\")\n",
		[]string{"calls/naming-one-permission", "calls/permissions-only-shrink"}},
	{"A4", "the env of the step that uses an action ends at its door", "agent/runner/action.go", "\tif f := t.frames[e.within]; f != nil {\n\t\tenv = ",
		"\tif f := t.frames[e.within]; f != nil && !mutant.On(\"A4\") {\n\t\tenv = ", []string{"actions/composite-env", "actions/nested"}},
	{"A9", "an action may change while the run goes on", "agent/runner/action.go", "case hex.EncodeToString(sum[:]) != a.GetDigest():",
		`case hex.EncodeToString(sum[:]) != a.GetDigest() && !mutant.On("A9"):`, []string{"actions/needs-a-checkout"}},
	{"K5", "a step with an image runs in the job's container", "agent/runner/exec.go", "Resources: stepResources(e.step), Image: image,", `Resources: stepResources(e.step), Image: mutant.Pick("K5", image, ""),`,
		[]string{"keys/image", "keys/image-shares-the-job"}},
}
