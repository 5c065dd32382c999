package lint

import (
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/pipeline/expr"
	"github.com/slipway-ci/slipway/pipeline/syntax"
)

// granted says whether a job's own token may write a scope. named is false where no `permissions` says anything, so that
// the repository's settings decide.
func (l *linter) granted(j *job, scope string) (granted, named bool) {
	p := j.ast.Permissions
	if p == nil {
		p = l.file.Permissions
	}
	if p == nil {
		return false, false
	}
	if p.All != nil {
		return p.All.Text == "write-all", true
	}
	return slices.ContainsFunc(p.Scopes, func(s syntax.Pair) bool { return s.Key.Text == scope && s.Value.Text == "write" }), true
}

// called: only other workflows start this one, and what they grant is not seen here.
func (l *linter) called() bool {
	return len(l.file.On) > 0 && !slices.ContainsFunc(l.file.On, func(e *syntax.Event) bool { return e.Name.Text != "workflow_call" })
}

// idToken warns where a step asks for an OpenID Connect token that its job may not have.
func (l *linter) idToken(s *step) {
	at, what := l.asksForIDToken(s)
	if what == "" {
		return
	}
	granted, named := l.granted(s.job, "id-token")
	if granted || !named && l.called() {
		return
	}
	reason := "no `permissions` grant `id-token: write`, and it is never given by default"
	if named {
		reason = "the job's `permissions` do not grant `id-token: write`"
		if s.job.ast.Permissions == nil {
			reason = "the workflow's `permissions` do not grant `id-token: write`"
		}
	}
	l.warn(at, IDTokenNotGranted, "add `permissions: {id-token: write, contents: read}` to the job `"+s.job.ast.ID.Text+"`",
		"%s asks for an OpenID Connect token, and %s", what, reason)
}

// asksForIDToken says where and what for; "" if the step does not.
func (l *linter) asksForIDToken(s *step) (at syntax.Pos, what string) {
	if s.ast.Uses != nil {
		if l.actionAsks(s) {
			return s.ast.Uses.Pos, "`" + s.ref.Name + "` as it is used here"
		}
		return at, ""
	}
	if s.script == nil {
		return at, ""
	}
	for i := range s.script.Commands {
		c := &s.script.Commands[i]
		args := c.Args()
		switch c.Name() {
		case "cosign":
			if len(args) == 0 || !slices.Contains([]string{"sign", "sign-blob", "attest", "attest-blob"}, args[0]) {
				continue
			}
			other := slices.ContainsFunc(args, func(a string) bool {
				return a == "--key" || strings.HasPrefix(a, "--key=") || a == "--sk" || strings.HasPrefix(a, "--identity-token")
			})
			if !other && l.env(s, "SIGSTORE_ID_TOKEN") == nil && l.env(s, "COSIGN_KEY") == nil {
				return l.place(s.ast.Run, c.Start), "`cosign " + args[0] + "` without a key"
			}
		case "npm":
			if slices.Contains(args, "publish") && slices.Contains(args, "--provenance") {
				return l.place(s.ast.Run, c.Start), "`npm publish --provenance`"
			}
		}
		if mentions(c, "ACTIONS_ID_TOKEN_REQUEST_URL") {
			return l.place(s.ast.Run, c.Start), "the script"
		}
	}
	return at, ""
}

func (l *linter) actionAsks(s *step) bool {
	switch s.ref.Name {
	case "aws-actions/configure-aws-credentials":
		return s.given("role-to-assume") && !s.given("aws-access-key-id") && !s.given("web-identity-token-file") && !s.given("role-chaining") &&
			l.env(s, "AWS_ACCESS_KEY_ID") == nil
	case "google-github-actions/auth":
		return s.given("workload_identity_provider") && !s.given("credentials_json")
	case "azure/login":
		auth := s.with("auth-type")
		return s.given("client-id") && !s.given("creds") && (auth == nil || !strings.EqualFold(auth.Text, "IDENTITY"))
	case "pypa/gh-action-pypi-publish":
		return !s.given("password")
	case "codecov/codecov-action":
		v := s.with("use_oidc")
		return v != nil && v.Text == "true"
	}
	return slices.Contains(s.lore.Write, "id-token")
}

// permitted warns where `permissions` names some scopes and leaves out one that a step writes: all others are none then.
func (l *linter) permitted(s *step) {
	for _, scope := range s.lore.Write {
		if scope == "id-token" {
			continue // a lint of its own
		}
		granted, named := l.granted(s.job, scope)
		if granted || !named || !l.ownToken(s) {
			continue
		}
		l.warn(s.ast.Uses.Pos, NotPermitted, "add `"+scope+": write` to the `permissions` that hold here: naming one sets all others to none",
			"`%s` needs `%s: write`, and the permissions of the job `%s` leave it out", s.ref.Name, scope, s.job.ast.ID.Text)
	}
}

// ownToken: the step acts with the run's own token, because it is given no other.
func (l *linter) ownToken(s *step) bool {
	v := s.with(s.lore.Token)
	if v == nil || strings.TrimSpace(v.Text) == "" {
		return l.env(s, "GITHUB_TOKEN") == nil || !l.foreign(s, l.env(s, "GITHUB_TOKEN"))
	}
	return !l.foreign(s, v)
}

// foreign: the text is a token, and not the run's own.
func (l *linter) foreign(s *step, text *syntax.Scalar) bool {
	found := false
	for _, u := range l.flows(text) {
		l.source(s, u, 0, func(f expr.Flow) bool {
			found = found || f.Context == "secrets" && len(f.Path) > 0 && !strings.EqualFold(f.Path[0], "GITHUB_TOKEN") || f.Context == "steps"
			return false
		})
	}
	return found
}
