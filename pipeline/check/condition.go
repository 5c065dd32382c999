package check

import (
	"strings"

	"github.com/slipway-ci/slipway/pipeline/expr"
	"github.com/slipway-ci/slipway/pipeline/syntax"
)

// statusFunctions decide for themselves what an earlier failure means.
var statusFunctions = []string{"success", "failure", "always", "cancelled"}

// Condition returns the expression of an `if`, with the implicit success() written out. whole is false where text stands
// beside ${{ }}, which makes it a text and so true.
func Condition(s *syntax.Scalar) (src string, whole bool) {
	src, whole = bare(s)
	if src == "" {
		return "success()", whole
	}
	if e, err := expr.ParseCompiled(src); err == nil && e.Calls(statusFunctions...) {
		return src, whole
	}
	return "success() && (" + src + ")", whole
}

func bare(s *syntax.Scalar) (src string, whole bool) {
	if s == nil || s.Kind == syntax.NullScalar {
		return "", true
	}
	text := strings.TrimSpace(s.Text)
	if !expr.HasExpression(text) {
		return text, true
	}
	parts, err := expr.Split(text)
	if err != nil {
		return text, true
	}
	return expr.Join(parts), len(parts) == 1
}

// PostCondition is the condition of an action's post step: always() if nothing is said. No success() is added to one.
func PostCondition(s *syntax.Scalar) string {
	if src, _ := bare(s); src != "" {
		return src
	}
	return "always()"
}
