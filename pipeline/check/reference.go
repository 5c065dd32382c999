package check

import (
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/pipeline/diag"
	"github.com/slipway-ci/slipway/pipeline/expr"
	"github.com/slipway-ci/slipway/pipeline/syntax"
)

// reference warns about a property that can't be there. GitHub gives null for it, so the file still runs.
func (c *checker) reference(s *syntax.Scalar, offset int, ref expr.Reference) {
	if len(ref.Path) == 0 || ref.Path[0] == "*" {
		return
	}
	c.property(s, offset, ref)
	if c.job == nil {
		return
	}
	name := ref.Path[0]
	at := func() syntax.Pos { return c.file.Place(s, offset+ref.Offset) }
	switch ref.Context {
	case "needs":
		if !c.job.needs[strings.ToLower(name)] {
			c.warnf(at(), "unknown-reference", diag.DidYouMean(name, c.job.needList),
				"`needs.%s` is always null: the job does not list `%s` in its `needs`", name, name)
		}
	case "steps":
		if !c.job.steps[strings.ToLower(name)] {
			c.warnf(at(), "unknown-reference", diag.DidYouMean(name, c.job.stepList),
				"`steps.%s` is always null: no step before this has the id `%s`", name, name)
		}
	case "matrix":
		if !c.job.hasMatrix {
			c.warnf(at(), "unknown-reference", "", "`matrix.%s` is always null: the job has no matrix", name)
		} else if c.job.axes != nil && !slices.ContainsFunc(c.job.axes, func(a string) bool { return strings.EqualFold(a, name) }) {
			c.warnf(at(), "unknown-reference", diag.DidYouMean(name, c.job.axes), "`matrix.%s` is always null: the matrix has no such key", name)
		}
	}
}

// untrusted are the parts of the event that anybody can write, from GitHub's "Script injections".
var untrusted = [][]string{
	{"event", "issue", "title"}, {"event", "issue", "body"},
	{"event", "pull_request", "title"}, {"event", "pull_request", "body"},
	{"event", "comment", "body"}, {"event", "review", "body"}, {"event", "review_comment", "body"},
	{"event", "discussion", "title"}, {"event", "discussion", "body"},
	{"event", "pages", "*", "page_name"},
	{"event", "commits", "*", "message"}, {"event", "commits", "*", "author", "email"}, {"event", "commits", "*", "author", "name"},
	{"event", "head_commit", "message"}, {"event", "head_commit", "author", "email"}, {"event", "head_commit", "author", "name"},
	{"event", "pull_request", "head", "ref"}, {"event", "pull_request", "head", "label"},
	{"event", "pull_request", "head", "repo", "default_branch"},
	{"event", "workflow_run", "head_branch"}, {"event", "workflow_run", "head_commit", "message"},
	{"head_ref"},
}

// injection warns where a stranger's text becomes part of a script.
func (c *checker) injection(s *syntax.Scalar) {
	if !s.HasExpression() {
		return
	}
	parts, err := expr.Split(s.Text)
	if err != nil {
		return
	}
	for _, p := range parts {
		if !p.Expr {
			continue
		}
		e, err := expr.Parse(p.Text)
		if err != nil {
			continue
		}
		for _, ref := range e.References() {
			if ref.Context == "github" && slices.ContainsFunc(untrusted, func(path []string) bool { return reaches(ref.Path, path) }) {
				c.warnf(c.file.Place(s, p.Offset+ref.Offset), "script-injection",
					"pass it in `env`, and use \"$NAME\" in the script",
					"`github.%s` is a text that strangers can write, and here it becomes part of the script", strings.Join(ref.Path, "."))
			}
		}
	}
}

// reaches reports whether a reference names the path; an index counts as its *.
func reaches(ref, path []string) bool {
	return len(ref) == len(path) && slices.EqualFunc(ref, path, func(r, p string) bool {
		return p == "*" || strings.EqualFold(r, p)
	})
}
