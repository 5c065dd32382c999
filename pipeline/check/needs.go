package check

import (
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/pipeline/diag"
	"github.com/slipway-ci/slipway/pipeline/expr"
	"github.com/slipway-ci/slipway/pipeline/graph"
	"github.com/slipway-ci/slipway/pipeline/syntax"
)

// maxID is the length of a job's or step's id.
const maxID = 100

// needs checks the ids of jobs and the edges between them.
func (c *checker) needs() {
	jobs := c.file.Jobs
	index := make(map[string]int, len(jobs))
	ids := make([]string, len(jobs))
	for i, j := range jobs {
		c.id("job", j.ID)
		index[strings.ToLower(j.ID.Text)] = i
		ids[i] = j.ID.Text
	}
	edges := make([][]int, len(jobs))
	for i, j := range jobs {
		for _, need := range j.Needs {
			n, ok := index[strings.ToLower(need.Text)]
			switch {
			case need.HasExpression():
				c.errorf(need.Pos, "no-expression-here", "", "`needs` can't hold an expression")
			case !ok:
				hint := ""
				// The nearest name costs a look at every job; a handful of mistakes is what people make.
				if len(c.found) < 50 {
					hint = diag.DidYouMean(need.Text, ids)
				}
				c.errorf(need.Pos, "unknown-need", hint, "the job `%s` needs `%s`, and there is no such job", j.ID.Text, need.Text)
			case n == i:
				c.errorf(need.Pos, "needs-cycle", "", "the job `%s` needs itself", j.ID.Text)
			default:
				edges[i] = append(edges[i], n)
			}
		}
	}
	_, rest := graph.Order(edges)
	c.cycles(edges, rest)
}

// cycles reports each cycle that a walk along the needs of the jobs in rest meets, with its path.
func (c *checker) cycles(edges [][]int, rest []int) {
	inRest := make(map[int]bool, len(rest))
	for _, i := range rest {
		inRest[i] = true
	}
	walked := make(map[int]int, len(rest)) // job → number of the walk that met it
	for number, start := range rest {
		var path []int
		at := start
		for walked[at] == 0 {
			walked[at] = number + 1
			path = append(path, at)
			next := slices.IndexFunc(edges[at], func(n int) bool { return inRest[n] })
			if next < 0 {
				break
			}
			at = edges[at][next]
		}
		if begin := slices.Index(path, at); walked[at] == number+1 && begin >= 0 {
			c.cycle(path[begin:])
		}
	}
}

func (c *checker) cycle(path []int) {
	first := slices.Index(path, slices.Min(path))
	path = append(slices.Clone(path[first:]), path[:first]...)
	names := make([]string, 0, len(path)+1)
	for _, i := range append(path, path[0]) {
		names = append(names, c.file.Jobs[i].ID.Text)
	}
	const most = 12
	if len(names) > most {
		names = append(append(names[:most-2:most-2], "…"), names[len(names)-1])
	}
	from, to := c.file.Jobs[path[0]], c.file.Jobs[path[1%len(path)]]
	at := from.ID.Pos
	for _, need := range from.Needs {
		if strings.EqualFold(need.Text, to.ID.Text) {
			at = need.Pos
		}
	}
	c.errorf(at, "needs-cycle", "take one of the edges out", "these jobs wait for each other for ever: %s", strings.Join(names, " → "))
}

func (c *checker) id(what string, id *syntax.Scalar) {
	switch {
	case !expr.IsName(id.Text):
		c.errorf(id.Pos, "bad-id", "", "`%s` can't be the id of a %s: it begins with a letter or _, and has only letters, digits, - and _", id.Text, what)
	case len(id.Text) > maxID:
		c.errorf(id.Pos, "bad-id", "", "the id of a %s has at most %d characters, and this one has %d", what, maxID, len(id.Text))
	case strings.HasPrefix(id.Text, "__"):
		c.errorf(id.Pos, "bad-id", "", "`%s` can't be the id of a %s: two underscores at the beginning are reserved", id.Text, what)
	}
}
