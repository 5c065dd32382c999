package planview

import (
	"fmt"
	"io"
	"strings"

	"github.com/slipway-ci/slipway/internal/tui"
)

// writeDOT writes workflows as one graph in Graphviz' language: a node for each job, an edge to each job that waits for it. What is skipped is
// dashed, what can't run yet is red. The jobs of a workflow that is called are a cluster behind their call.
func writeDOT(w io.Writer, all []*Workflow) error {
	var b strings.Builder
	b.WriteString("digraph plan {\n  rankdir=LR;\n  node [shape=box, fontname=\"sans-serif\"];\n")
	for i, wf := range all {
		fmt.Fprintf(&b, "  subgraph cluster_%d {\n    label=%s;\n", i, quote(wf.Name))
		d := dotter{b: &b, workflow: i, cluster: fmt.Sprintf("cluster_%d", i)}
		d.jobs("    ", wf.Jobs)
		b.WriteString("  }\n")
	}
	b.WriteString("}\n")
	_, err := io.WriteString(w, b.String())
	return err
}

type dotter struct {
	b        *strings.Builder
	workflow int
	cluster  string
	clusters int
}

func (d *dotter) jobs(indent string, jobs []*Job) {
	for _, j := range jobs {
		fmt.Fprintf(d.b, "%s%s [label=%s%s];\n", indent, node(d.workflow, j.ID), quote(nodeText(j)), look(j))
		if len(j.Jobs) == 0 {
			continue
		}
		d.clusters++
		fmt.Fprintf(d.b, "%ssubgraph %s_%d {\n%s  label=%s;\n", indent, d.cluster, d.clusters, indent, quote(j.Calls))
		d.jobs(indent+"  ", j.Jobs)
		fmt.Fprintf(d.b, "%s}\n", indent)
		for _, first := range j.Jobs {
			if len(first.Needs) == 0 {
				fmt.Fprintf(d.b, "%s%s -> %s;\n", indent, node(d.workflow, j.ID), node(d.workflow, first.ID))
			}
		}
	}
	// `needs` may write an id in another case.
	byID := map[string]*Job{}
	for _, j := range jobs {
		byID[strings.ToLower(j.ID)] = j
	}
	for _, j := range jobs {
		for _, n := range j.Needs {
			for _, last := range ends(byID[strings.ToLower(n)]) {
				fmt.Fprintf(d.b, "%s%s -> %s;\n", indent, node(d.workflow, last.ID), node(d.workflow, j.ID))
			}
		}
	}
}

// ends are the jobs that who waits for j waits for: of a call, those that no other of its jobs waits for.
func ends(j *Job) []*Job {
	switch {
	case j == nil:
		return nil
	case len(j.Jobs) == 0:
		return []*Job{j}
	}
	needed := map[string]bool{}
	for _, inner := range j.Jobs {
		for _, n := range inner.Needs {
			needed[strings.ToLower(n)] = true
		}
	}
	var out []*Job
	for _, inner := range j.Jobs {
		if !needed[strings.ToLower(inner.ID)] {
			out = append(out, ends(inner)...)
		}
	}
	return out
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
