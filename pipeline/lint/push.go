package lint

import (
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/pipeline/expr"
	"github.com/slipway-ci/slipway/pipeline/lint/shell"
	"github.com/slipway-ci/slipway/pipeline/syntax"
	"github.com/slipway-ci/slipway/pipeline/trigger"
)

// pushes warns where a workflow that a push starts makes such a push itself. The run's own token starts no runs; every
// other one does.
func (l *linter) pushes() {
	i := slices.IndexFunc(l.file.On, func(e *syntax.Event) bool { return e.Name.Text == "push" })
	if i < 0 {
		return
	}
	for _, j := range l.jobs {
		if guarded(j.ast.If) {
			continue
		}
		p := &pusher{linter: l, on: l.file.On[i]}
		for _, s := range j.steps {
			p.step(s)
		}
	}
}

// guarded: the condition looks at who pushed what, or lets other events through only.
func guarded(condition *syntax.Scalar) bool {
	if condition == nil {
		return false
	}
	for _, word := range []string{"actor", "head_commit", "event_name", "pull_request", "commits", "workflow_dispatch", "sender"} {
		if strings.Contains(condition.Text, word) {
			return true
		}
	}
	return false
}

type credential uint8

const (
	unsaid credential = iota
	ownToken
	foreignToken
)

// pusher follows one job: what its checkout left for git to push with, and to where.
type pusher struct {
	*linter
	on *syntax.Event
	// token that git has.
	token credential
	// branch that is checked out; "" is the one that was pushed.
	branch string
	// elsewhere: git works on another repository, or it can't be told.
	elsewhere bool
	// skips: a commit of the job asks that no run be started.
	skips bool
}

func (p *pusher) step(s *step) {
	switch {
	case s.ast.Run != nil && s.script == nil:
		p.elsewhere = true // another language may do anything
	case s.script != nil:
		p.script(s)
	case s.ref.Name == "actions/checkout":
		p.checkout(s)
	case s.lore.Pushes && !guarded(s.ast.If):
		p.action(s)
	}
}

func (p *pusher) checkout(s *step) {
	p.elsewhere = s.given("repository")
	p.token, p.branch = unsaid, ""
	if v := s.with("ref"); v != nil {
		if p.branch = v.Text; v.HasExpression() {
			p.branch = ""
			p.elsewhere = p.elsewhere || !strings.Contains(v.Text, "github.ref")
		}
	}
	switch token := s.with("token"); {
	case s.given("ssh-key"):
		p.token = foreignToken
	case s.given("token") && p.foreign(s, token):
		p.token = foreignToken
	case s.given("token"):
		p.token = ownToken
	}
}

func (p *pusher) action(s *step) {
	token := p.token
	if v := s.with(s.lore.Token); v != nil {
		if token = ownToken; p.foreign(s, v) {
			token = foreignToken
		}
	}
	branch := p.branch
	if v := s.with("branch"); v != nil {
		branch = fill(v.Text)
	} else if s.ref.Name == "peter-evans/create-pull-request" {
		branch = "create-pull-request/patch"
	}
	message := s.with("commit-message")
	if message == nil {
		message = s.with("commit_message")
	}
	if token != foreignToken || p.elsewhere || message != nil && skipsRuns(message.Text) {
		return
	}
	if p.starts(branch, nil) {
		p.report(s.ast.Uses.Pos, "`"+s.ref.Name+"` pushes with a token of its own", branch, nil)
	}
}

// fill puts something in place of each expression.
func fill(text string) string {
	parts, err := expr.Split(text)
	if err != nil {
		return text
	}
	var b strings.Builder
	for _, p := range parts {
		if p.Expr {
			b.WriteString("0")
		} else {
			b.WriteString(p.Text)
		}
	}
	return b.String()
}

func skipsRuns(text string) bool {
	for _, mark := range []string{"[skip ci]", "[ci skip]", "[no ci]", "[skip actions]", "[actions skip]", "skip-checks: true"} {
		if strings.Contains(text, mark) {
			return true
		}
	}
	return false
}

func (p *pusher) script(s *step) {
	p.skips = p.skips || skipsRuns(s.ast.Run.Text)
	var files []string
	filesKnown, moved := true, false
	for i := range s.script.Commands {
		c := &s.script.Commands[i]
		if c.Name() == "cd" || c.Name() == "pushd" {
			moved = true
			continue
		}
		if c.Name() != "git" {
			continue
		}
		args := gitArgs(c)
		if len(args) == 0 {
			continue
		}
		switch args[0].Text {
		case "clone", "init", "worktree", "submodule":
			p.elsewhere = true
		case "checkout", "switch":
			p.gitCheckout(args[1:])
		case "remote", "config":
			if p.hasForeign(s, args) {
				p.token = foreignToken
			}
		case "add":
			for _, a := range args[1:] {
				if a.Dynamic || moved || strings.HasPrefix(a.Text, "-") || strings.ContainsAny(a.Text, "*?[") || a.Text == "." {
					filesKnown = false
				}
				files = append(files, strings.TrimPrefix(a.Text, "./"))
			}
		case "commit":
			if slices.ContainsFunc(args, func(a shell.Word) bool {
				return strings.HasPrefix(a.Text, "-") && strings.Contains(a.Text, "a") && a.Text != "--allow-empty" && len(a.Text) < 4
			}) {
				filesKnown = false
			}
		case "push":
			if !guarded(s.ast.If) {
				p.push(s, c, args[1:], files, filesKnown && len(files) > 0)
			}
		}
	}
}

// gitArgs are the words behind git and its own options.
func gitArgs(c *shell.Command) []shell.Word {
	words := c.Words[1:]
	for len(words) > 1 && strings.HasPrefix(words[0].Text, "-") {
		if words[0].Text == "-c" || words[0].Text == "-C" {
			words = words[1:]
		}
		words = words[min(1, len(words)):]
	}
	return words
}

func (p *pusher) gitCheckout(args []shell.Word) {
	for _, a := range args {
		switch {
		case a.Text == "--":
			return
		case strings.HasPrefix(a.Text, "-"):
		case a.Dynamic:
			p.elsewhere = true
			return
		default:
			p.branch = a.Text
			return
		}
	}
}

func (p *pusher) hasForeign(s *step, words []shell.Word) bool {
	scan := &secretScan{linter: p.linter, step: s, own: map[string]string{}, env: map[string]string{}, tracing: -1}
	secret, _ := scan.words(words)
	return secret != "" && secret != "github.token" && !strings.EqualFold(secret, "secrets.GITHUB_TOKEN")
}

func (p *pusher) push(s *step, c *shell.Command, args []shell.Word, files []string, filesKnown bool) {
	branch, plain := p.branch, 0
	token := p.token
	if p.hasForeign(s, args) {
		token = foreignToken
	}
	for _, a := range args {
		switch {
		case a.Text == "--tags" || a.Text == "--follow-tags" && len(args) == 1, a.Text == "--dry-run", a.Text == "--delete", a.Text == "-d":
			return
		case strings.HasPrefix(a.Text, "-"):
		default:
			if plain++; plain < 2 {
				continue // the remote
			}
			_, to, isPair := strings.Cut(a.Text, ":")
			if !isPair {
				to = a.Text
			}
			switch own := strings.Contains(s.ast.Run.Text[a.Start:a.End], "github.ref") || strings.Contains(a.Text, "GITHUB_REF") || to == "HEAD"; {
			case own:
			case a.Dynamic || strings.HasPrefix(to, "refs/tags/"):
				return
			default:
				branch = strings.TrimPrefix(to, "refs/heads/")
			}
		}
	}
	if token == ownToken || p.elsewhere || p.skips {
		return
	}
	if !filesKnown {
		files = nil
	}
	if token == unsaid && !filesKnown && (p.on.HasPaths || p.on.HasPathsIgnore) {
		return
	}
	if !p.starts(branch, files) {
		return
	}
	at := p.place(s.ast.Run, c.Start)
	if token == foreignToken {
		p.report(at, "this pushes with a token that is not the run's own", branch, files)
		return
	}
	p.warn(at, PushStartsItself, "give checkout the run's own token, leave what is pushed here out of `paths` with `!…`, or write [skip ci] into the commit's message",
		"this push%s would start this workflow again, and again: only the run's own token keeps a push from starting runs, and nothing says here that it is made with it",
		what(branch, files))
}

func (p *pusher) report(at syntax.Pos, how, branch string, files []string) {
	p.warn(at, PushStartsItself, "use the run's own token, leave what is pushed here out of `on.push`, or write [skip ci] into the commit's message",
		"%s: the push%s starts this workflow again, and again", how, what(branch, files))
}

func what(branch string, files []string) string {
	out := ""
	if len(files) > 0 {
		out = " of `" + clip(files[0]) + "`"
	}
	if branch != "" {
		out += " to `" + clip(branch) + "`"
	}
	return out
}

// starts: a push of these files (nil: not known) to the branch ("": the one that was pushed) would start the workflow.
func (p *pusher) starts(branch string, files []string) bool {
	on := *p.on
	if branch == "" {
		on.HasBranches, on.HasBranchesIgnore, on.HasTags, on.HasTagsIgnore = false, false, false, false
		branch = "any"
		if p.on.HasTags && !p.on.HasBranches {
			return false // a tag was pushed: git has no branch to push
		}
	}
	f := &syntax.File{On: []*syntax.Event{&on}}
	return trigger.Match(f, trigger.Event{Name: "push", Ref: "refs/heads/" + branch, Files: files, FilesKnown: len(files) > 0}).Starts
}
