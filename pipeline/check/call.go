package check

import (
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/pipeline/diag"
	"github.com/slipway-ci/slipway/pipeline/expr"
	"github.com/slipway-ci/slipway/pipeline/syntax"
)

// Limits of calls, GitHub's: how deep workflows call each other, the first one counted, and how many different ones a run may call.
const (
	MaxCallDepth = 10
	MaxCallees   = 50
)

var remoteWorkflow = regexp.MustCompile(`^[^/@]+/[^/@]+/\.github/workflows/[^/@]+\.ya?ml@[^@]+$`)

// CalleePath is the path inside the repository of the workflow that a job calls; "" with a finding for one that can't be called.
func CalleePath(f *syntax.File, j *syntax.Job) (string, diag.List) {
	c := newChecker(f)
	uses := j.Uses
	rest, local := strings.CutPrefix(uses.Text, "./")
	if !local {
		rest, local = strings.CutPrefix(uses.Text, "$/")
	}
	folder, name := path.Split(rest)
	switch isFile := strings.HasSuffix(name, ".yml") || strings.HasSuffix(name, ".yaml"); {
	case remoteWorkflow.MatchString(uses.Text):
		c.errorf(uses.Pos, "not-supported", "copy the workflow into this repository, and call it as ./.github/workflows/NAME.yml",
			"workflows of other repositories (`%s`) are not supported yet", uses.Text)
	case !local:
		c.errorf(uses.Pos, "bad-uses", "call one as ./.github/workflows/NAME.yml", "`%s` is not a workflow", uses.Text)
	case strings.Contains(name, "@"):
		c.errorf(uses.Pos, "bad-uses", "leave the @ and what follows out", "`%s`: a workflow of the same repository is of the same commit, and takes no version", uses.Text)
	case folder != ".github/workflows/" && folder != ".slipway/" || !isFile:
		c.errorf(uses.Pos, "bad-uses", "", "`%s`: workflows that can be called lie in .github/workflows/ or .slipway/, not in a folder below, and end with .yml or .yaml", uses.Text)
	case f.GitHub && folder == ".slipway/":
		c.errorf(uses.Pos, "slipway-key", "move one of the files", "a file in .github/ can't call one in .slipway/: GitHub would refuse it")
	default:
		return rest, nil
	}
	return "", c.found
}

// Call checks a call against the workflow that it calls. within are the permissions that the calling file itself was given, nil for any.
func Call(f *syntax.File, j *syntax.Job, callee *syntax.File) diag.List {
	c := newChecker(f)
	at := slices.IndexFunc(callee.On, func(e *syntax.Event) bool { return e.Name.Text == "workflow_call" })
	if at < 0 {
		c.errorf(j.Uses.Pos, "not-callable", "add `workflow_call:` to its `on`", "`%s` can't be called: its `on` does not name workflow_call", j.Uses.Text)
		return c.found
	}
	e := callee.On[at]
	c.callInputs(j, e)
	c.callSecrets(j, e)
	if j.Concurrency != nil && callee.Concurrency != nil {
		c.errorf(j.Concurrency.Pos, "not-supported", "leave one of them out",
			"`concurrency` of a call together with that of the workflow that it calls (`%s`) is not supported yet", j.Uses.Text)
	}
	granted := EffectivePermissions(f.Permissions, j.Permissions)
	if granted == nil {
		return c.found
	}
	for _, inner := range callee.Jobs {
		for _, scope := range EffectivePermissions(callee.Permissions, inner.Permissions) {
			if have := levelOf(granted, scope.Scope); rank(scope.Level) > rank(have) {
				c.errorf(j.Uses.Pos, "permissions-grow", "grant it to the call with `permissions`, or take it from the called job",
					"the job `%s` of `%s` wants `%s: %s`, and the call grants `%s: %s`: permissions only shrink", inner.ID.Text, j.Uses.Text,
					scope.Scope, scope.Level, scope.Scope, have)
				return c.found
			}
		}
	}
	return c.found
}

func (c *checker) callInputs(j *syntax.Job, e *syntax.Event) {
	var names []string
	for _, in := range e.Inputs {
		names = append(names, in.Name.Text)
		given := find(j.With, in.Name.Text)
		if given == nil {
			if in.Required {
				c.errorf(j.Uses.Pos, "missing-input", "add it to `with`", "`%s` needs the input `%s`", j.Uses.Text, in.Name.Text)
			}
			continue
		}
		kind := inputType(in)
		if given.HasExpression() || given.Kind == syntax.NullScalar {
			continue
		}
		if kind == "boolean" && given.Kind != syntax.BoolScalar || kind == "number" && given.Kind != syntax.NumberScalar {
			c.errorf(given.Pos, "wrong-type", "", "the input `%s` of `%s` is a %s, and this is not", in.Name.Text, j.Uses.Text, kind)
		}
	}
	for _, p := range pairs(j.With) {
		if !slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, p.Key.Text) }) {
			c.errorf(p.Key.Pos, "unknown-input", diag.DidYouMean(p.Key.Text, names), "`%s` has no input `%s`", j.Uses.Text, p.Key.Text)
		}
	}
}

func (c *checker) callSecrets(j *syntax.Job, e *syntax.Event) {
	var names []string
	for _, s := range e.Secrets {
		names = append(names, s.Name.Text)
		given := j.InheritSecrets || find(j.Secrets, s.Name.Text) != nil
		if s.Required && !given {
			c.errorf(j.Uses.Pos, "missing-secret", "add it to `secrets`, or inherit all", "`%s` needs the secret `%s`", j.Uses.Text, s.Name.Text)
		}
	}
	for _, p := range pairs(j.Secrets) {
		if !slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, p.Key.Text) }) {
			c.errorf(p.Key.Pos, "unknown-secret", diag.DidYouMean(p.Key.Text, names), "`%s` declares no secret `%s`", j.Uses.Text, p.Key.Text)
		}
	}
}

func pairs(m *syntax.Map) []syntax.Pair {
	if m == nil {
		return nil
	}
	return m.Pairs
}

func find(m *syntax.Map, name string) *syntax.Scalar {
	for _, p := range pairs(m) {
		if strings.EqualFold(p.Key.Text, name) {
			return p.Value
		}
	}
	return nil
}

// call checks what can be said of a call without the workflow that it calls.
func (c *checker) call(j *syntax.Job) {
	if j.Uses == nil {
		return
	}
	_, found := CalleePath(c.file, j)
	c.found = append(c.found, found...)
	c.textMap(j.With, jobRules)
	c.textMap(j.Secrets, callSecretRules)
}

// callee checks what a reusable workflow says of itself.
func (c *checker) callee(e *syntax.Event) {
	for _, s := range e.Secrets {
		if !expr.IsName(s.Name.Text) || strings.EqualFold(s.Name.Text, "GITHUB_TOKEN") {
			c.errorf(s.Name.Pos, "bad-id", "", "`%s` can't be the name of a secret", s.Name.Text)
		}
	}
	for _, o := range e.Outputs {
		if !expr.IsName(o.Name.Text) {
			c.errorf(o.Name.Pos, "bad-id", "", "`%s` can't be the name of an output", o.Name.Text)
		}
		c.text(o.Value, callOutputRules)
	}
}
