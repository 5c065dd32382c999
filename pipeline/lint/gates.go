package lint

import (
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/pipeline/lint/shell"
	"github.com/slipway-ci/slipway/pipeline/syntax"
)

// checkers are programs whose failure is a verdict about the code, with the subcommands that make it so; nil is any.
var checkers = map[string][]string{
	"npm": {"test", "audit", "t"}, "yarn": {"test", "audit"}, "pnpm": {"test", "audit"},
	"go": {"test", "vet"}, "cargo": {"test", "clippy", "audit"}, "mvn": {"test", "verify"}, "bundle": {"audit"},
	"pytest": nil, "jest": nil, "vitest": nil, "tox": nil, "rspec": nil, "phpunit": nil, "govulncheck": nil, "golangci-lint": nil,
	"trivy": {"image", "fs", "repo", "config", "rootfs"}, "grype": nil, "snyk": {"test", "container", "code"}, "gitleaks": nil, "semgrep": nil,
	"bandit": nil, "eslint": nil, "ruff": {"check"}, "mypy": nil, "hadolint": nil, "checkov": nil, "tfsec": nil, "cosign": {"verify", "verify-attestation"},
}

// checkOf says which check a command is, "" if none.
func checkOf(c *shell.Command) string {
	subcommands, ok := checkers[c.Name()]
	switch {
	case !ok:
		return ""
	case subcommands == nil:
		return c.Name()
	}
	if sub := subcommand(c.Args()); slices.Contains(subcommands, sub) {
		return c.Name() + " " + sub
	}
	if args := c.Args(); len(args) > 1 && args[0] == "run" && (strings.HasPrefix(args[1], "test") || strings.HasPrefix(args[1], "lint")) {
		return c.Name() + " run " + clip(args[1])
	}
	return ""
}

// gate warns about a check whose failure is thrown away.
func (l *linter) gate(s *step) {
	what := ""
	if s.lore.Scanner {
		what = s.ref.Name
	}
	if s.script != nil {
		for i := range s.script.Commands {
			c := &s.script.Commands[i]
			check := checkOf(c)
			if check == "" {
				continue
			}
			if what == "" {
				what = check
			}
			if c.Negligible {
				l.warn(l.place(s.ast.Run, c.Start), GateIgnored, "let it fail, or give it a baseline of what is accepted for now",
					"what `%s` finds changes nothing: its failure is thrown away on the same line", check)
			}
		}
	}
	if what == "" {
		return
	}
	hint := "take it out, or use `steps.ID.outcome` where the verdict matters"
	if v := s.ast.ContinueOnError; v != nil && v.Text == "true" && !l.outcomeUsed(s) {
		l.warn(v.Pos, GateIgnored, hint, "what `%s` finds changes nothing: the step continues on error, and nobody looks at its outcome", what)
	}
	if v := s.job.ast.ContinueOnError; v != nil && v.Text == "true" && !s.job.gateSaid {
		s.job.gateSaid = true
		l.warn(v.Pos, GateIgnored, "take it out, or let another job look at `needs."+s.job.ast.ID.Text+".result`",
			"what `%s` finds changes nothing: a failure of the job `%s` does not fail the run", what, s.job.ast.ID.Text)
	}
}

// outcomeUsed: another step of the job asks how this one went. The index is made once for each job.
func (l *linter) outcomeUsed(s *step) bool {
	if s.ast.ID == nil {
		return false
	}
	return l.outcomes(s.job)[strings.ToLower(s.ast.ID.Text)]
}

func (l *linter) outcomes(j *job) map[string]bool {
	if j.outcomes != nil {
		return j.outcomes
	}
	j.outcomes = map[string]bool{}
	note := func(text *syntax.Scalar, condition bool) {
		for _, u := range references(text, condition) {
			if u.Context == "steps" && len(u.Path) > 1 && (strings.EqualFold(u.Path[1], "outcome") || strings.EqualFold(u.Path[1], "conclusion")) {
				j.outcomes[strings.ToLower(u.Path[0])] = true
			}
		}
	}
	for _, s := range j.steps {
		note(s.ast.If, true)
		note(s.ast.Run, false)
		for _, m := range []*syntax.Map{s.ast.Env, s.ast.With} {
			if m != nil {
				for _, p := range m.Pairs {
					note(p.Value, false)
				}
			}
		}
	}
	if j.ast.Outputs != nil {
		for _, p := range j.ast.Outputs.Pairs {
			note(p.Value, false)
		}
	}
	return j.outcomes
}

// scanVerdicts warns about a scan that can't fail and whose report nobody keeps.
func (l *linter) scanVerdicts(j *job) {
	var kept strings.Builder
	for _, s := range j.steps {
		if s.ast.Uses == nil && s.ast.Run != nil {
			kept.WriteString(s.ast.Run.Text + "\n")
		}
		if s.ast.Uses != nil && !s.lore.Scanner && s.ast.With != nil {
			for _, p := range s.ast.With.Pairs {
				kept.WriteString(p.Value.Text + "\n")
			}
		}
	}
	scans := 0
	for _, s := range j.steps {
		if scans > 100 || l.full() {
			return
		}
		if s.ref.Name != "aquasecurity/trivy-action" || s.given("trivy-config") {
			continue
		}
		if code := s.with("exit-code"); code != nil && strings.TrimSpace(code.Text) != "0" && strings.TrimSpace(code.Text) != "" {
			continue
		}
		scans++
		output := s.with("output")
		if output == nil || output.HasExpression() || strings.Contains(kept.String(), strings.TrimSpace(output.Text)) {
			continue
		}
		l.warn(s.ast.Uses.Pos, ScanWithoutVerdict, "set `exit-code: '1'`, or upload the report",
			"this scan finds what it finds and succeeds: without `exit-code` it never fails, and no step of the job uses its report `%s`", clip(output.Text))
	}
}

// promises are words in a step's name that only a command can keep.
var promises = []string{"rollback", "roll back", "deploy", "publish", "promote", "migrate", "restore", "revert"}

// doesNothing warns about a step that says in its name what its script only prints.
func (l *linter) doesNothing(s *step) {
	if s.script == nil || s.script.Partial || s.ast.Name == nil || len(s.script.Commands) == 0 {
		return
	}
	title := strings.ToLower(s.ast.Name.Text)
	i := slices.IndexFunc(promises, func(p string) bool { return strings.Contains(title, p) })
	if i < 0 || strings.Contains(title, "notify") || strings.Contains(title, "summar") || strings.Contains(title, "dry") || strings.Contains(title, "print") {
		return
	}
	for k := range s.script.Commands {
		c := &s.script.Commands[k]
		if name := c.Name(); name != "echo" && name != "printf" && name != "sleep" && name != "true" && name != ":" || len(c.Redirects) > 0 || c.Into >= 0 || mentions(c, "$()") {
			return
		}
	}
	l.warn(s.ast.Name.Pos, DoesNothing, "put the command there, or take the step out: who reads the run believes its name",
		"the step is named `%s`, and all that it does is print", clip(s.ast.Name.Text))
}
