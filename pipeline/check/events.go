package check

import (
	"slices"

	"github.com/slipway-ci/slipway/pipeline/diag"
	"github.com/slipway-ci/slipway/pipeline/expr"
	"github.com/slipway-ci/slipway/pipeline/syntax"
	"github.com/slipway-ci/slipway/pipeline/trigger"
)

// started are the events that can start a run; workflow_call never does so by itself.
var started = []string{"push", "pull_request", "workflow_dispatch", "workflow_call"}

var inputTypes = []string{"string", "boolean", "number", "choice", "environment"}

func (c *checker) events() {
	for _, e := range c.file.On {
		if !slices.Contains(started, e.Name.Text) {
			c.warnf(e.Name.Pos, "event-without-effect", "", "nothing starts a run for `%s` yet", e.Name.Text)
		}
		c.both(e.BranchesIgnore, e.HasBranches && e.HasBranchesIgnore, "branches")
		c.both(e.TagsIgnore, e.HasTags && e.HasTagsIgnore, "tags")
		c.both(e.PathsIgnore, e.HasPaths && e.HasPathsIgnore, "paths")
		c.patterns(e.Branches, "branches")
		c.patterns(e.BranchesIgnore, "branches-ignore")
		c.patterns(e.Tags, "tags")
		c.patterns(e.TagsIgnore, "tags-ignore")
		c.patterns(e.Paths, "paths")
		c.patterns(e.PathsIgnore, "paths-ignore")
		c.callee(e)
		for _, in := range e.Inputs {
			c.input(in, e.Name.Text == "workflow_call")
		}
	}
}

func (c *checker) both(ignore []*syntax.Scalar, both bool, key string) {
	if both && len(ignore) > 0 {
		c.errorf(ignore[0].Pos, "both-filters", "negate with `!` in `"+key+"` instead", "`%s` and `%s-ignore` can't be used together", key, key)
	}
}

func (c *checker) patterns(list []*syntax.Scalar, key string) {
	positive := false
	for _, p := range list {
		g, err := trigger.ParseGlob(p.Text)
		if err != nil {
			c.errorf(p.Pos, "bad-pattern", "", "bad pattern `%s` in `%s`: %v", p.Text, key, err)
			return
		}
		positive = positive || !g.Negated
	}
	if len(list) > 0 && !positive {
		c.warnf(list[0].Pos, "nothing-matches", "add a pattern without `!` first, such as `**`, or use `"+key+"-ignore`",
			"`%s` matches nothing: every pattern is negated", key)
	}
}

func inputType(in *syntax.Input) string {
	if in.Type == nil {
		return "string"
	}
	return in.Type.Text
}

func (c *checker) input(in *syntax.Input, called bool) {
	if !expr.IsName(in.Name.Text) {
		c.errorf(in.Name.Pos, "bad-id", "", "`%s` can't be the name of an input", in.Name.Text)
	}
	kind := inputType(in)
	if called {
		c.calledInput(in, kind)
		return
	}
	switch {
	case !slices.Contains(inputTypes, kind):
		c.errorf(in.Type.Pos, "bad-value", diag.DidYouMean(kind, inputTypes), "an input's type is string, boolean, number, choice or environment, not `%s`", kind)
	case kind == "choice" && len(in.Options) == 0:
		c.errorf(in.Name.Pos, "missing-key", "", "the input `%s` is a choice and has no `options`", in.Name.Text)
	case kind == "choice" && in.Default != nil && in.Default.Text != "" &&
		!slices.ContainsFunc(in.Options, func(o *syntax.Scalar) bool { return o.Text == in.Default.Text }):
		c.errorf(in.Default.Pos, "bad-value", "", "the default of the input `%s` is not one of its `options`", in.Name.Text)
	case kind == "boolean" && in.Default != nil && in.Default.Text != "" && in.Default.Text != "true" && in.Default.Text != "false":
		c.errorf(in.Default.Pos, "bad-value", "", "the default of the input `%s` must be true or false", in.Name.Text)
	}
	if in.Default.HasExpression() {
		c.errorf(in.Default.Pos, "no-expression-here", "", "an input's default can't hold an expression")
	}
}

// calledInput checks an input of workflow_call: its type must be said, and its default may be an expression.
func (c *checker) calledInput(in *syntax.Input, kind string) {
	types := []string{"string", "boolean", "number"}
	switch {
	case in.Type == nil:
		c.errorf(in.Name.Pos, "missing-key", "add `type: string`, say", "the input `%s` of workflow_call has no `type`", in.Name.Text)
	case !slices.Contains(types, kind):
		c.errorf(in.Type.Pos, "bad-value", diag.DidYouMean(kind, types), "the type of an input of workflow_call is string, boolean or number, not `%s`", kind)
	case in.Default.HasExpression():
		c.text(in.Default, callDefaultRules)
	case in.Default != nil && in.Default.Kind != syntax.NullScalar &&
		(kind == "boolean" && in.Default.Kind != syntax.BoolScalar || kind == "number" && in.Default.Kind != syntax.NumberScalar):
		c.errorf(in.Default.Pos, "wrong-type", "", "the default of the input `%s` must be a %s", in.Name.Text, kind)
	}
}
