package check

import (
	"errors"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/pipeline/actions"
	"github.com/slipway-ci/slipway/pipeline/diag"
	"github.com/slipway-ci/slipway/pipeline/syntax"
)

func (c *checker) steps(list []*syntax.Step) {
	first := map[string]syntax.Pos{}
	for _, s := range list {
		c.step(s)
		if s.ID == nil {
			continue
		}
		c.id("step", s.ID)
		id := strings.ToLower(s.ID.Text)
		if at, twice := first[id]; twice {
			c.errorf(s.ID.Pos, "duplicate-id", "", "the id `%s` is taken: a step on line %d has it", s.ID.Text, at.Line)
			continue
		}
		first[id] = s.ID.Pos
		c.job.steps.add(s.ID.Text)
	}
}

func (c *checker) step(s *syntax.Step) {
	c.condition(s.If, c.stepIfs)
	for _, text := range []*syntax.Scalar{s.Name, s.Run, s.Shell, s.WorkingDirectory, s.ContinueOnError, s.TimeoutMinutes} {
		c.text(text, c.stepTexts)
	}
	c.textMap(s.Env, c.stepTexts)
	c.envNames(s.Env)
	c.textMap(s.With, c.stepTexts)
	c.positive(s.TimeoutMinutes, "timeout-minutes")
	c.shell(s.Shell)
	c.stepOurs(s)
	if s.Uses != nil {
		c.uses(s)
	}
}

// shells that an agent may have; any other must say with {0} where the script goes.
var shells = []string{"bash", "sh", "python", "pwsh"}

func (c *checker) shell(s *syntax.Scalar) {
	if s == nil || s.HasExpression() || slices.Contains(shells, s.Text) || strings.Contains(s.Text, "{0}") {
		return
	}
	if s.Text == "cmd" || s.Text == "powershell" {
		c.errorf(s.Pos, "not-supported", "use bash, or pwsh", "the shell `%s` exists on Windows only", s.Text)
		return
	}
	c.errorf(s.Pos, "bad-shell", "say with {0} where the script goes, as in `"+path.Base(strings.Fields(s.Text)[0])+" {0}`",
		"unknown shell `%s`", s.Text)
}

// plugin says of a `uses:` that names a plugin why it does not run; false if it names none.
func (c *checker) plugin(uses *syntax.Scalar) bool {
	first, image := strings.HasPrefix(uses.Text, "slipway/"), strings.HasPrefix(uses.Text, "plugin://")
	switch {
	case !first && !image:
		return false
	case c.file.GitHub:
		c.errorf(uses.Pos, "slipway-key", "move the file to .slipway/, or leave the step out",
			"`%s` is a plugin of Slipway's, which a file in .github/ can't use: GitHub would refuse it", uses.Text)
	case first && !firstPartyPlugin.MatchString(uses.Text):
		c.errorf(uses.Pos, "bad-uses", "name one as slipway/NAME@v1", "`%s` is not a plugin", uses.Text)
	case image && !imagePlugin.MatchString(uses.Text):
		c.errorf(uses.Pos, "bad-uses", "name one as plugin://REGISTRY/REPOSITORY:TAG@sha256:DIGEST", "`%s` is not a plugin's image with its digest", uses.Text)
	default:
		c.errorf(uses.Pos, "not-supported", "", "plugins (`%s`) are not supported by this version", uses.Text)
	}
	return true
}

var (
	firstPartyPlugin = regexp.MustCompile(`^slipway/[a-z][a-z0-9-]*@v[0-9]+(\.[0-9]+){0,2}$`)
	imagePlugin      = regexp.MustCompile(`^plugin://[A-Za-z0-9.-]+(:[0-9]+)?(/[a-z0-9._-]+)+(:[A-Za-z0-9._-]+)?@sha256:[0-9a-f]{64}$`)
)

func (c *checker) uses(s *syntax.Step) {
	if c.plugin(s.Uses) {
		return
	}
	if IsLocalAction(s.Uses.Text) {
		_, found := ActionDir(c.file, s)
		c.found = append(c.found, found...)
		return
	}
	native, pinned, err := actions.Lookup(s.Uses.Text)
	if err != nil {
		var e *actions.Error
		if errors.As(err, &e) {
			c.errorf(s.Uses.Pos, e.Code, e.Hint, "%s", e.Message)
		}
		return
	}
	if pinned {
		c.warnf(s.Uses.Pos, "pinned-native", "", "Slipway runs its own %s step for %s, whatever the commit", native.Name, native.Action)
	}
	if s.With == nil {
		return
	}
	for _, in := range s.With.Pairs {
		switch native.Input(in.Key.Text, in.Value.Text) {
		case actions.RefusedInput:
			c.errorf(in.Key.Pos, "not-supported", "", "the input `%s` of %s is not supported yet", in.Key.Text, native.Action)
		case actions.UnknownInput:
			c.warnf(in.Key.Pos, "unknown-input", diag.DidYouMean(in.Key.Text, native.Known()), "%s has no input `%s`", native.Action, in.Key.Text)
		case actions.Obeyed, actions.IgnoredInput:
		}
	}
}
