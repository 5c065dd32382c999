package lint

import (
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/pipeline/expr"
	"github.com/slipway-ci/slipway/pipeline/syntax"
)

// untrusted are the parts of the `github` context that people without any right in the repository can write. Source:
// GitHub's "Script injections" and the payloads of its webhooks.
var untrusted = split(`head_ref
	event.issue.title event.issue.body event.issue.labels.*.name
	event.pull_request.title event.pull_request.body event.pull_request.labels.*.name
	event.pull_request.head.ref event.pull_request.head.label event.pull_request.head.repo.default_branch
	event.pull_request.head.repo.description event.pull_request.head.repo.homepage
	event.comment.body event.review.body event.review_comment.body event.label.name event.label.description
	event.discussion.title event.discussion.body event.answer.body
	event.changes.title.from event.changes.body.from
	event.pages.*.page_name event.pages.*.title
	event.commits.*.message event.commits.*.author.email event.commits.*.author.name
	event.commits.*.committer.email event.commits.*.committer.name
	event.head_commit.message event.head_commit.author.email event.head_commit.author.name
	event.head_commit.committer.email event.head_commit.committer.name
	event.merge_group.head_commit.message
	event.workflow_run.head_branch event.workflow_run.display_title event.workflow_run.head_commit.message
	event.workflow_run.head_commit.author.email event.workflow_run.head_commit.author.name
	event.workflow_run.head_repository.description event.workflow_run.pull_requests.*.head.ref
	event.check_suite.head_branch event.check_run.check_suite.head_branch`)

func split(paths string) [][]string {
	var out [][]string
	for _, p := range strings.Fields(paths) {
		out = append(out, strings.Split(p, "."))
	}
	return out
}

func isUntrusted(f expr.Flow) bool {
	return f.Context == "github" && slices.ContainsFunc(untrusted, func(path []string) bool { return reaches(f, path) })
}

// injection warns where a stranger's text becomes part of a program.
func (l *linter) injection(s *step) {
	if s.ast.Run != nil {
		l.injected(s, s.ast.Run, "the script")
	}
	for _, input := range s.lore.Scripts {
		if v := s.with(input); v != nil {
			l.injected(s, v, "the program in `"+input+"`")
		}
	}
}

func (l *linter) injected(s *step, text *syntax.Scalar, what string) {
	for _, u := range l.flows(text) {
		if l.full() {
			return
		}
		var culprit expr.Flow
		if !l.source(s, u, 0, func(f expr.Flow) bool { culprit = f; return isUntrusted(f) }) {
			continue
		}
		hint := "pass it in `env`, and use \"$NAME\" in the script"
		if s.ast.Run == nil {
			hint = "pass it in `env`, and read it from the environment in the program"
		}
		through := ""
		if u.Context == "env" {
			hint = "use \"$" + u.Path[0] + "\" in the script: the shell does not read a variable's value as program text"
			through = ", through `" + name(u.Flow) + "`,"
		}
		verb := "is a text that strangers can write"
		if culprit.Whole {
			verb = "holds texts that strangers can write"
		}
		l.warn(l.place(text, u.offset), ScriptInjection, hint, "`%s` %s, and here it becomes%s part of %s", name(culprit), verb, through, what)
	}
}
