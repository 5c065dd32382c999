package check

import (
	"github.com/slipway-ci/slipway/pipeline/diag"
	"github.com/slipway-ci/slipway/pipeline/expr"
	"github.com/slipway-ci/slipway/pipeline/syntax"
)

// reference warns about a property that can't be there. GitHub gives null for it, so the file still runs.
func (c *checker) reference(s *syntax.Scalar, offset int, ref expr.Reference) {
	if c.warned() || len(ref.Path) == 0 || ref.Path[0] == "*" {
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
		if c.whose == "workflow" && !c.job.needs.has(name) {
			c.warnf(at(), "unknown-reference", diag.DidYouMean(name, c.job.needs.list),
				"`needs.%s` is always null: the job does not list `%s` in its `needs`", name, name)
		}
	case "steps":
		if !c.job.steps.has(name) {
			c.warnf(at(), "unknown-reference", diag.DidYouMean(name, c.job.steps.list),
				"`steps.%s` is always null: no step before this has the id `%s`", name, name)
		}
	case "matrix":
		if !c.job.hasMatrix {
			c.warnf(at(), "unknown-reference", "", "`matrix.%s` is always null: the job has no matrix", name)
		} else if c.job.axes != nil && !c.job.axes.has(name) {
			c.warnf(at(), "unknown-reference", diag.DidYouMean(name, c.job.axes.list), "`matrix.%s` is always null: the matrix has no such key", name)
		}
	}
}
