package planview

import (
	"fmt"
	"io"
	"strings"

	"github.com/slipway-ci/slipway/internal/tui"
)

// writeDOT writes workflows as one graph in Graphviz' language: a node for each job, an edge to each job that waits for it. What is skipped is
// dashed, what can't run yet is red.
func writeDOT(w io.Writer, all []*Workflow) error {
	var b strings.Builder
	b.WriteString("digraph plan {\n  rankdir=LR;\n  node [shape=box, fontname=\"sans-serif\"];\n")
	for i, wf := range all {
		fmt.Fprintf(&b, "  subgraph cluster_%d {\n    label=%s;\n", i, quote(wf.Name))
		for _, j := range wf.Jobs {
			fmt.Fprintf(&b, "    %s [label=%s%s];\n", node(i, j.ID), quote(nodeText(j)), look(j))
		}
		// `needs` may write an id in another case.
		ids := map[string]string{}
		for _, j := range wf.Jobs {
			ids[strings.ToLower(j.ID)] = j.ID
		}
		for _, j := range wf.Jobs {
			for _, n := range j.Needs {
				fmt.Fprintf(&b, "    %s -> %s;\n", node(i, ids[strings.ToLower(n)]), node(i, j.ID))
			}
		}
		b.WriteString("  }\n")
	}
	b.WriteString("}\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func node(workflow int, id string) string { return quote(fmt.Sprintf("%d/%s", workflow, id)) }

func nodeText(j *Job) string {
	lines := []string{j.ID}
	if j.Name != "" {
		lines = append(lines, j.Name)
	}
	if j.Calls != "" {
		lines = append(lines, "calls "+j.Calls)
	}
	switch m := j.Matrix; {
	case m == nil:
	case m.Dynamic != "":
		lines = append(lines, "matrix known at run time")
	default:
		lines = append(lines, fmt.Sprintf("matrix of %d", len(m.Legs)))
	}
	return strings.Join(lines, "\n")
}

func look(j *Job) string {
	out := ""
	if j.Skipped != "" {
		out += ", style=dashed"
	}
	if len(j.Unsupported) > 0 {
		return out + ", color=red"
	}
	for _, s := range j.Steps {
		if len(s.Unsupported) > 0 {
			return out + ", color=red"
		}
	}
	return out
}

// quote makes a quoted ID of the DOT language: only " needs an escape there, and a backslash would begin one in a label.
func quote(s string) string {
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		lines[i] = strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(tui.Clean(l))
	}
	return `"` + strings.Join(lines, `\n`) + `"`
}
