package lint

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/pipeline/expr"
)

// trustedOwners may move their tags: who runs workflows trusts them with more than an action.
var trustedOwners = []string{"actions", "github"}

// pin warns about an action that somebody else can change under the workflow.
func (l *linter) pin(s *step) {
	r := s.ref
	switch {
	case s.ast.Uses == nil, r.Local, r.Plugin, r.Commit():
	case r.Docker:
		if !strings.HasPrefix(r.Version, "sha256:") {
			l.warn(s.ast.Uses.Pos, UnpinnedAction, "name it by digest: docker://image@sha256:…", "the image of the step, `%s`, is named by a tag, which can be moved to another image", r.Name)
		}
	case r.Branch():
		l.warn(s.ast.Uses.Pos, UnpinnedAction, "name a commit, with the version in a comment behind it: @<40 hex digits> # v1.2.3",
			"`%s@%s` is whatever stands on that branch today: each push to it changes what this workflow runs", r.Name, r.Version)
	case !slices.Contains(trustedOwners, r.Owner()) && r.Version != "":
		l.warn(s.ast.Uses.Pos, UnpinnedAction, "name a commit, with the version in a comment behind it: @<40 hex digits> # "+r.Version,
			"`%s@%s` is somebody else's tag, and who can move it can run anything here", r.Name, r.Version)
	}
}

// untrustedCheckout warns where code that anybody can propose is fetched in a run that has the repository's secrets.
func (l *linter) untrustedCheckout(s *step) {
	event := ""
	for _, e := range l.file.On {
		if e.Name.Text == "pull_request_target" || e.Name.Text == "workflow_run" {
			event = e.Name.Text
		}
	}
	if event == "" {
		return
	}
	hint := "use `pull_request`, which has no secrets; or check out only what is merged, and treat the proposal as data"
	if s.ref.Name == "actions/checkout" {
		for _, input := range []string{"ref", "repository"} {
			v := s.with(input)
			for _, u := range l.flows(v) {
				if l.source(s, u, 0, isHead) {
					l.warn(l.place(v, u.offset), UntrustedCheckout, hint, "under `%s` a run has the repository's secrets, and this checks out code that strangers propose", event)
					return
				}
			}
		}
	}
	if s.script == nil {
		return
	}
	for i := range s.script.Commands {
		c := &s.script.Commands[i]
		if args := c.Args(); c.Name() == "gh" && len(args) > 1 && args[0] == "pr" && args[1] == "checkout" {
			l.warn(l.place(s.ast.Run, c.Start), UntrustedCheckout, hint, "under `%s` a run has the repository's secrets, and this checks out code that strangers propose", event)
			return
		}
	}
}

var heads = split(`head_ref event.pull_request.head.ref event.pull_request.head.sha event.pull_request.head.repo.full_name
	event.pull_request.merge_commit_sha event.pull_request.number event.number
	event.workflow_run.head_sha event.workflow_run.head_branch event.workflow_run.head_repository.full_name`)

func isHead(f expr.Flow) bool {
	return f.Context == "github" && slices.ContainsFunc(heads, func(p []string) bool { return reaches(f, p) })
}

// cacheKey warns about a cache that is written once and then never again.
func (l *linter) cacheKey(s *step) {
	if s.ref.Name != "actions/cache" && s.ref.Name != "actions/cache/save" {
		return
	}
	key := s.with("key")
	if key == nil {
		return
	}
	for _, u := range references(key, false) {
		if u.Context != "runner" && u.Context != "matrix" {
			return
		}
	}
	if parts, err := expr.Split(key.Text); err != nil || slices.ContainsFunc(parts, func(p expr.Part) bool { return p.Expr && strings.Contains(p.Text, "hashFiles") }) {
		return
	}
	l.warn(key.Pos, ConstantCacheKey, "add what the content depends on: ${{ hashFiles('**/package-lock.json') }}, say",
		"this key is the same in every run, and a cache that exists is not written again: it stays as the first run left it")
}

var oldCommand = regexp.MustCompile(`::(set-output|save-state|set-env|add-path)(?:[ \t]+name=|::)`)

var newFile = map[string]string{"set-output": "GITHUB_OUTPUT", "save-state": "GITHUB_STATE", "set-env": "GITHUB_ENV", "add-path": "GITHUB_PATH"}

var oldFate = map[string]string{
	"set-output": "is deprecated: whatever the step prints can set the output, too",
	"save-state": "is deprecated: whatever the step prints can set the state, too",
	"set-env":    "was taken away and has no effect",
	"add-path":   "was taken away and has no effect",
}

// deprecated warns about workflow commands that were or will be taken away.
func (l *linter) deprecated(s *step) {
	if s.ast.Run == nil {
		return
	}
	for _, m := range oldCommand.FindAllStringSubmatchIndex(s.ast.Run.Text, -1) {
		if l.full() {
			return
		}
		command := s.ast.Run.Text[m[2]:m[3]]
		form := `"name=value"`
		if command == "add-path" {
			form = `"/some/folder"`
		}
		l.warn(l.place(s.ast.Run, m[0]), DeprecatedCommand, fmt.Sprintf("write to the file instead: echo %s >> \"$%s\"", form, newFile[command]),
			"the command `::%s` %s", command, oldFate[command])
	}
}
