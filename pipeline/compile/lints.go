package compile

import (
	"slices"

	"github.com/slipway-ci/slipway/pipeline/diag"
	"github.com/slipway-ci/slipway/pipeline/lint"
	"github.com/slipway-ci/slipway/pipeline/syntax"
)

// lints adds what the lints find, and takes out the warnings that a comment allows. A file that could not be read whole is not linted: what is
// missing in it would look like a defect.
func lints(f *syntax.File, src []byte, parsed, found diag.List) diag.List {
	if parsed.Invalid() {
		return found
	}
	return lint.Allow(f, src, slices.Concat(found, lint.Lint(f)))
}
