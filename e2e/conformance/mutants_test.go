package conformance

// mutation inverts one rule in the code.
type mutation struct {
	rule string
	// what becomes of the rule.
	what string
	// file of the repository, in which old stands exactly once and becomes new.
	file, old, new string
	// cases that are run; at least one must notice.
	cases []string
}

// mutations are a sample of the rules. TestMutations runs them and writes MUTATIONS.md.
var mutations = []mutation{
	{"E1e", "literals in any case", "pipeline/expr/lex.go", "switch text {\n\tcase \"null\":", "switch strings.ToLower(text) {\n\tcase \"null\":",
		[]string{"expressions/literals-in-exact-case"}},
	{"E2b", "comparisons are right-associative", "pipeline/expr/parse.go", "		right, err := operand()\n", "		right, err := p.comparison(operand, operators...)\n",
		[]string{"expressions/left-associative", "expressions/precedence"}},
	{"E2e", "empty objects and arrays are false", "pipeline/expr/coerce.go", "	case KindArray, KindObject:\n		return true\n",
		"	case KindArray, KindObject:\n		return len(values(v)) > 0\n", []string{"expressions/containers-are-true"}},
	{"E3b", "a text beside a number is no number", "pipeline/expr/compare.go", "b = Number(ParseNumber(b.str))", "b = Number(math.NaN())",
		[]string{"expressions/equality-of-text-and-number"}},
	{"E3d", "texts are equal in the same case only", "pipeline/expr/compare.go", "return equalFold(a.str, b.str)", "return a.str == b.str",
		[]string{"expressions/texts-without-case", "expressions/contains"}},
	{"E5b", "what lacks the property stays, as null", "pipeline/expr/eval.go", "return []Value{found}\n			}\n			return nil",
		"return []Value{found}\n			}\n			return []Value{Null()}", []string{"expressions/star-drops-what-lacks-the-property"}},
	{"J1a", "an `if` stands for itself", "pipeline/check/condition.go", `return "success() && (" + src + ")", whole`, `return src, whole`,
		[]string{"steps/if-implies-success", "jobs/if-implies-success"}},
	{"J1b", "only the root of an `if` is looked at for a status function", "pipeline/check/condition.go", "err == nil && e.Calls(statusFunctions...)",
		`err == nil && e.Calls(statusFunctions...) && strings.HasSuffix(strings.TrimSpace(src), "()")`, []string{"steps/if-status-function-anywhere", "expressions/status-functions-with-jobs"}},
	{"J2b", "a cancel ends every running step", "agent/runner/step.go", "return hard || soft && !t.holdsNow(e)", "return hard || soft",
		[]string{"steps/cancel-lets-always-run-on", "steps/cancel-ends-the-running-step"}},
	{"J4a", "the job's env goes over GITHUB_ENV", "agent/runner/scope.go", "return commands.Merge(slices.Clone(t.values.base.Env), t.values.env...)",
		"return commands.Merge(slices.Clone(t.values.env), t.values.base.Env...)", []string{"steps/env-levels"}},
	{"J4e", "GITHUB_ENV takes NODE_OPTIONS", "agent/commands/files.go", `strings.EqualFold(p.Name, "NODE_OPTIONS")`, `strings.EqualFold(p.Name, "")`,
		[]string{"steps/github-env-refuses-node-options"}},
	{"J5a", "`<<` decides wherever it stands", "agent/commands/files.go", "case here >= 0 && (eq < 0 || here < eq):", "case here >= 0:",
		[]string{"steps/output-syntax"}},
	{"J5b", "space around a delimiter does not count", "agent/commands/files.go", "if line == delimiter {", "if strings.TrimSpace(line) == delimiter {",
		[]string{"steps/heredoc-delimiter-is-exact"}},
	{"J5d", "the latest entry of GITHUB_PATH comes last", "agent/runner/values.go", "vs.paths = slices.Insert(slices.DeleteFunc(vs.paths, func(x string) bool { return x == p }), 0, p)",
		"vs.paths = append(vs.paths, p)", []string{"steps/path"}},
	{"J6c", "a masked value may be a job's output", "agent/runner/finish.go", "if t.values.hide.Hides(p.Value) {", `if p.Value == "" && t.values.hide.Hides(p.Value) {`,
		[]string{"steps/masked-output-is-dropped"}},
	{"J8b", "an explicit bash has no pipefail", "agent/runner/shell.go", "bash --noprofile --norc -e -o pipefail {0}", "bash --noprofile --norc -e {0}",
		[]string{"steps/shell-bash"}},
	{"J9a", "the first axis is the fastest", "pipeline/matrix/matrix.go", "			block /= len(a.items)\n			o.Set(a.name, a.items[i/block%len(a.items)])",
		"			o.Set(a.name, a.items[i/(size/block)%len(a.items)])\n			block /= len(a.items)", []string{"matrix/order-and-names"}},
	{"J9c", "include extends every leg", "pipeline/matrix/matrix.go", "			if entry.matches(combination) {\n", "			if entry.matches(combination) || true {\n",
		[]string{"matrix/include-extends"}},
	{"J10a", "fail-fast is off by default", "pipeline/resolve/job.go", "Bool(s.GetFailFast(), env, true)", "Bool(s.GetFailFast(), env, false)",
		[]string{"matrix/fail-fast-by-default", "matrix/fail-fast-in-a-row"}},
	{"J10c", "the first leg wins outputs", "pipeline/graph/progress.go", `!there || output.Value != ""`, `!there`,
		[]string{"matrix/last-leg-wins-outputs"}},
	{"J11a", "a skip is as good as a success", "pipeline/graph/progress.go", "j.allSucceeded && j.result == Success", "j.allSucceeded && (j.result == Success || j.result == Skipped)",
		[]string{"jobs/skip-propagates"}},
	{"J12a", "the conclusion is the outcome", "agent/runner/step.go", "	if x.outcome == corev1.Result_RESULT_FAILURE && lenient {\n		rec.Conclusion",
		"	if x.outcome == corev1.Result_RESULT_UNSPECIFIED && lenient {\n		rec.Conclusion", []string{"steps/outcome-and-conclusion"}},
	{"J13a", "all that come wait for a group", "coordinator/engine/group.go", "if !newest.hold.GetQueueAll() || i >= maxQueue {", "if i >= maxQueue {",
		[]string{"groups/one-runs-and-the-newest-waits", "groups/of-jobs-the-newest-waits"}},
	{"J14b", "a service that is unhealthy does no harm", "agent/sandbox/containerd/health.go", "			return unhealthy(failures, time.Since(began), late, output, err)", "			return nil",
		[]string{"services/unhealthy"}},
	{"J17a", "a called workflow has its caller's env", "coordinator/engine/wants.go", "	if sc.workflow != nil {\n		// The caller's env is not inherited.",
		"	if sc.workflow != nil && sc.id == \"\" {\n		// The caller's env is not inherited.", []string{"calls/env-is-not-inherited"}},
	{"J19a", "naming one permission leaves the others as they are", "pipeline/check/permissions.go", "	return \"none\"\n", "	return \"write\"\n",
		[]string{"calls/naming-one-permission", "calls/permissions-only-shrink"}},
}
