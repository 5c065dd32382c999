package lifecycle

import (
	"fmt"
	"slices"
	"strings"
)

// Document renders the tables for people: for each machine a diagram (Mermaid) and its rows. docs/design/lifecycle.md is this text.
func Document() string {
	var b strings.Builder
	b.WriteString("# States of runs, jobs and attempts\n\n")
	b.WriteString("Generated from the tables of `coordinator/lifecycle` by `go test ./coordinator/lifecycle -update`; a test holds the two against each other.\n")
	b.WriteString("Nothing else decides a state. States are numbered and never decrease, but where a row begins a new attempt. A dash in a row: nothing follows.\n")
	section(&b, Run)
	section(&b, Job)
	section(&b, Attempt)
	return b.String()
}

func section[S ~int32, R, A any](b *strings.Builder, m *Machine[S, R, A]) {
	fmt.Fprintf(b, "\n## %s\n\n```mermaid\nstateDiagram-v2\n", strings.ToUpper(m.Name[:1])+m.Name[1:])
	for _, s := range m.Initial {
		fmt.Fprintf(b, "    [*] --> %s\n", m.word(s))
	}
	for _, e := range m.edges() {
		fmt.Fprintf(b, "    %s --> %s: %s\n", m.word(e.from), m.word(e.to), strings.Join(e.events, ", "))
	}
	for _, s := range m.Terminal {
		fmt.Fprintf(b, "    %s --> [*]\n", m.word(s))
	}
	b.WriteString("```\n\n| event | from | to | guarded | then, after the commit |\n| --- | --- | --- | --- | --- |\n")
	for _, r := range m.Rules {
		from := make([]string, len(r.From))
		for i, s := range r.From {
			from[i] = m.word(s)
		}
		tasks := make([]string, len(r.Tasks))
		for i, t := range r.Tasks {
			tasks[i] = string(t)
		}
		to := m.word(r.To)
		if r.NewAttempt {
			to += " (for a new attempt)"
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", r.Event, strings.Join(from, ", "), to, yes(r.Guard != nil), dash(strings.Join(tasks, ", ")))
	}
}

type edge[S ~int32] struct {
	from, to S
	events   []string
}

// edges are the rows by pair of states, in the states' order; events of one pair stand together. Rows that stay in a state are left out.
func (m *Machine[S, R, A]) edges() []edge[S] {
	var out []edge[S]
	for _, r := range m.Rules {
		for _, from := range r.From {
			if from == r.To {
				continue
			}
			i := slices.IndexFunc(out, func(e edge[S]) bool { return e.from == from && e.to == r.To })
			if i < 0 {
				out = append(out, edge[S]{from: from, to: r.To})
				i = len(out) - 1
			}
			if !slices.Contains(out[i].events, string(r.Event)) {
				out[i].events = append(out[i].events, string(r.Event))
			}
		}
	}
	slices.SortStableFunc(out, func(a, b edge[S]) int {
		if a.from != b.from {
			return int(a.from) - int(b.from)
		}
		return int(a.to) - int(b.to)
	})
	return out
}

// word is a state's name without its enum's prefix: JOB_STATE_TIMED_OUT is timed_out.
func (m *Machine[S, R, A]) word(s S) string {
	name := fmt.Sprint(s)
	return strings.ToLower(strings.TrimPrefix(name, strings.ToUpper(m.Name)+"_STATE_"))
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return ""
}

func dash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}
