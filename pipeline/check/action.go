package check

import (
	"path"
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/pipeline/diag"
	"github.com/slipway-ci/slipway/pipeline/expr"
	"github.com/slipway-ci/slipway/pipeline/syntax"
)

// Limits of actions: how deep they use each other, GitHub's, the first one counted; and, so that a plan stays one that can be sent, what the steps
// of a job come to with those of its actions written out: how many, and their texts in bytes.
const (
	MaxActionDepth = 10
	MaxJobSteps    = 1000
	MaxActionBytes = 1 << 20
)

// IsLocalAction says whether a `uses:` means an action of the repository itself.
func IsLocalAction(uses string) bool {
	return strings.HasPrefix(uses, "./") || strings.HasPrefix(uses, "$/") || strings.HasPrefix(uses, "../")
}

// ActionDir is the directory, inside the workspace, of the action that a step uses: "." for its root; "" with a finding for one that can't be.
func ActionDir(f *syntax.File, s *syntax.Step) (string, diag.List) {
	c := newChecker(f)
	rest, ok := strings.CutPrefix(s.Uses.Text, "./")
	if !ok {
		rest, ok = strings.CutPrefix(s.Uses.Text, "$/")
	}
	dir := path.Clean(rest)
	switch {
	case !ok, dir == "..", strings.HasPrefix(dir, "../"), path.IsAbs(dir):
		c.errorf(s.Uses.Pos, "bad-uses", "name its directory inside the repository, as in ./.github/actions/NAME", "`%s` leads out of the repository", s.Uses.Text)
	case strings.Contains(rest, "@"):
		c.errorf(s.Uses.Pos, "bad-uses", "leave the @ and what follows out", "`%s`: an action of the same repository is of the same commit, and takes no version", s.Uses.Text)
	case slices.Contains(syntax.MetadataFiles, path.Base(dir)):
		c.errorf(s.Uses.Pos, "bad-uses", "name the directory: ./"+path.Dir(dir), "`%s` is an action's file, not its directory", s.Uses.Text)
	default:
		return dir, nil
	}
	return "", c.found
}

// Action returns every finding about an action's metadata.
func Action(a *syntax.Action) diag.List {
	c := newChecker(a.File)
	c.stepTexts, c.stepIfs, c.whose = actionStepRules, actionIfRules, "action"
	for _, in := range a.Inputs {
		c.text(in.Default, actionDefaultRules)
		c.inputs.add(in.Name.Text)
	}
	switch a.Runs.Kind {
	case syntax.Composite:
		c.composite(a)
	case syntax.Node:
		c.node(a)
	case syntax.Docker, syntax.UnknownKind:
	}
	return c.found
}

func (c *checker) composite(a *syntax.Action) {
	// What the job that uses it has a matrix of is not known here.
	c.job = &scope{hasMatrix: true}
	c.steps(a.Runs.Steps)
	for _, o := range a.Outputs {
		if o.Value == nil {
			c.errorf(o.Name.Pos, "missing-key", "add `value: ${{ steps.ID.outputs.NAME }}`", "the output `%s` of a composite action has no `value`", o.Name.Text)
			continue
		}
		c.text(o.Value, actionOutputRules)
	}
	c.job = nil
}

func (c *checker) node(a *syntax.Action) {
	c.condition(a.Runs.PreIf, actionIfRules)
	c.condition(a.Runs.PostIf, actionIfRules)
	for _, file := range []*syntax.Scalar{a.Runs.Main, a.Runs.Pre, a.Runs.Post} {
		if file == nil {
			continue
		}
		if p := path.Clean(file.Text); path.IsAbs(p) {
			c.errorf(file.Pos, "bad-value", "", "`%s` must be a path beside the action's own file", file.Text)
		}
	}
	for _, o := range a.Outputs {
		if o.Value != nil {
			c.warnf(o.Value.Pos, "unknown-key", "the program sets it, by GITHUB_OUTPUT", "`value` of the output `%s` has no effect: only composite actions compute outputs", o.Name.Text)
		}
	}
}

// Use checks a step against the action that it uses.
func Use(f *syntax.File, s *syntax.Step, a *syntax.Action) diag.List {
	c := newChecker(f)
	c.useInputs(s, a)
	switch a.Runs.Kind {
	case syntax.Docker:
		c.errorf(s.Uses.Pos, "not-supported", "run its commands in a job's `container`, or as a composite action", "`%s` is a docker action, and these are not supported yet", s.Uses.Text)
	case syntax.Composite:
		c.oneStep(s, "retry", s.Retry != nil)
		c.oneStep(s, "resources", s.Resources != nil)
		c.oneStep(s, "reports", s.Reports != nil)
	case syntax.Node:
		if a.Runs.Pre != nil {
			c.warnf(s.Uses.Pos, "ignored-pre", "do it at the begin of `main`", "the `pre` of `%s` does not run: before the job's first step no action of the repository is there", s.Uses.Text)
		}
	case syntax.UnknownKind:
	}
	return c.found.Sort()
}

// oneStep refuses a key that can't hold for several steps yet.
func (c *checker) oneStep(s *syntax.Step, key string, there bool) {
	if there {
		c.errorf(s.Uses.Pos, "not-supported", "give it to a step of the job's own", "`%s` of a step that uses a composite action (`%s`) is not supported yet: it would have to hold for several steps", key, s.Uses.Text)
	}
}

func (c *checker) useInputs(s *syntax.Step, a *syntax.Action) {
	var names []string
	for _, in := range a.Inputs {
		names = append(names, in.Name.Text)
		given := find(s.With, in.Name.Text)
		switch {
		case given == nil && in.Required && in.Default == nil:
			c.warnf(s.Uses.Pos, "missing-input", "add it to `with`", "`%s` says that it needs the input `%s`; without it, it is empty", s.Uses.Text, in.Name.Text)
		case given != nil && in.Deprecated != nil:
			c.warnf(given.Pos, "deprecated-input", "", "the input `%s` of `%s` is deprecated: %s", in.Name.Text, s.Uses.Text, in.Deprecated.Text)
		}
	}
	for _, p := range pairs(s.With) {
		if !slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, p.Key.Text) }) {
			c.warnf(p.Key.Pos, "unknown-input", diag.DidYouMean(p.Key.Text, names), "`%s` has no input `%s`", s.Uses.Text, p.Key.Text)
		}
	}
}

// What an action's expressions see: GitHub's action schema (action_yaml.json of actions/runner). What a job was given is for it to hand on, by inputs.
var (
	actionContexts     = []string{"github", "inputs", "strategy", "matrix", "steps", "job", "runner", "env"}
	actionStepRules    = rules("a step of an action", actionContexts, map[string]expr.Arity{"hashFiles": hashFiles})
	actionOutputRules  = rules("an output of an action", actionContexts, nil)
	actionDefaultRules = rules("the default of an action's input", []string{"github", "strategy", "matrix", "job", "runner"}, map[string]expr.Arity{"hashFiles": hashFiles})
	actionIfRules      = rules("an `if` of an action", actionContexts, map[string]expr.Arity{
		"always": {}, "cancelled": {}, "success": {}, "failure": {}, "hashFiles": hashFiles,
	})
)
