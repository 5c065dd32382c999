package planview

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/slipway-ci/slipway/pipeline/expr"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// Event is what would start the run.
type Event struct {
	Name string
	// Ref is the full one, of the tree.
	Ref string
	// BaseRef is of a pull request, "" where it is not known.
	BaseRef string
	// Payload is JSON, "" where it is not known.
	Payload string
}

// decider says what is known of conditions before a run.
type decider struct {
	event Event
	env   *expr.Env
	known map[string]bool
}

func newDecider(e Event) *decider {
	github := expr.NewObject()
	d := &decider{event: e, known: map[string]bool{"event_name": true}}
	set := func(name, value string) {
		github.Set(name, expr.String(value))
		d.known[name] = true
	}
	set("event_name", e.Name)
	if e.Name == "push" || e.Name == "workflow_dispatch" {
		kind, name := "branch", strings.TrimPrefix(e.Ref, "refs/heads/")
		if tag, ok := strings.CutPrefix(e.Ref, "refs/tags/"); ok {
			kind, name = "tag", tag
		}
		if e.Ref != "" {
			set("ref", e.Ref)
			set("ref_name", name)
			set("ref_type", kind)
		}
		set("head_ref", "")
		set("base_ref", "")
	} else if e.BaseRef != "" {
		set("base_ref", strings.TrimPrefix(e.BaseRef, "refs/heads/"))
	}
	if e.Payload != "" && json.Valid([]byte(e.Payload)) {
		if v, err := expr.FromJSON([]byte(e.Payload)); err == nil {
			github.Set("event", v)
			d.known["event"] = true
		}
	}
	contexts := expr.NewObject()
	contexts.Set("github", github.Value())
	d.env = &expr.Env{Contexts: contexts, Functions: map[string]expr.Function{
		"always": func([]expr.Value) (expr.Value, error) { return expr.Bool(true), nil },
	}}
	return d
}

func (d *decider) isKnown(r expr.Reference) bool {
	return r.Context == "github" && len(r.Path) > 0 && d.known[strings.ToLower(r.Path[0])]
}

// isFalse: the condition can't hold for the event, whatever happens in the run.
func (d *decider) isFalse(src string) bool {
	if src == "" {
		return false
	}
	e, err := expr.ParseCompiled(src)
	return err == nil && e.Decide(d.env, d.isKnown) == expr.False
}

// skipped says why what has the condition would not run, "" if it may. nil decides nothing.
func (d *decider) skipped(src string) string {
	if d == nil || !d.isFalse(src) {
		return ""
	}
	return fmt.Sprintf("its `if` is false on %s", d.on())
}

func (d *decider) on() string {
	if ref := shortRef(d.event.Ref); ref != "" && (d.event.Name == "push" || d.event.Name == "workflow_dispatch") {
		return d.event.Name + " to " + ref
	}
	return d.event.Name
}

func shortRef(ref string) string {
	return strings.TrimPrefix(strings.TrimPrefix(ref, "refs/heads/"), "refs/tags/")
}

var statusFunctions = []string{"always", "failure", "cancelled"}

// skips follows skips through the graph: a job whose need is skipped is skipped too, unless its own condition asks how its needs went.
func (d *decider) skips(plans []*planv1.Job, jobs []*Job) {
	index := make(map[string]int, len(jobs))
	for i, j := range jobs {
		index[strings.ToLower(j.ID)] = i
		j.Skipped = d.skipped(plans[i].GetCondition())
	}
	// In the order of the graph: a job is looked at again when a need of it turns out to be skipped.
	dependents := make([][]int, len(jobs))
	var queue []int
	for i, j := range jobs {
		for _, n := range j.Needs {
			if k, ok := index[strings.ToLower(n)]; ok {
				dependents[k] = append(dependents[k], i)
			}
		}
		if j.Skipped != "" {
			queue = append(queue, i)
		}
	}
	for at := 0; at < len(queue); at++ {
		for _, i := range dependents[queue[at]] {
			e, err := expr.ParseCompiled(plans[i].GetCondition())
			if jobs[i].Skipped != "" || err == nil && e.Calls(statusFunctions...) {
				continue
			}
			jobs[i].Skipped = fmt.Sprintf("it needs `%s`, which is skipped", jobs[queue[at]].ID)
			queue = append(queue, i)
		}
	}
}

// condition is an `if` as people write it: without the success() that every one has.
func condition(src string) string {
	if src == "success()" {
		return ""
	}
	if inner, ok := strings.CutPrefix(src, "success() && ("); ok && strings.HasSuffix(inner, ")") {
		inner = strings.TrimSuffix(inner, ")")
		if _, err := expr.ParseCompiled(inner); err == nil {
			return expr.Unjoin(inner)
		}
	}
	return expr.Unjoin(src)
}

// text is a value as people write it.
func text(v *planv1.Value) string {
	switch k := v.GetKind().(type) {
	case *planv1.Value_Literal:
		return k.Literal
	case *planv1.Value_Expr:
		if written := expr.Unjoin(k.Expr); written != k.Expr {
			return written
		}
		return "${{ " + k.Expr + " }}"
	}
	return ""
}

func texts(list []*planv1.Value) []string {
	out := []string{}
	for _, v := range list {
		out = append(out, text(v))
	}
	return out
}

// matrixText is a matrix that is known at run time only: as the compiler found it, each of its expressions in its place.
func matrixText(v *planv1.Value) string {
	inner, ok := strings.CutPrefix(v.GetExpr(), "fromJSON(")
	if !ok || !strings.HasSuffix(inner, ")") {
		return text(v)
	}
	parts, err := expr.Split(expr.Unjoin(strings.TrimSuffix(inner, ")")))
	if err != nil || len(parts) < 2 {
		return text(v)
	}
	var b strings.Builder
	for _, p := range parts {
		if !p.Expr {
			b.WriteString(p.Text)
			continue
		}
		source := strings.TrimSpace(p.Text)
		if written, ok := strings.CutPrefix(source, "toJSON("); ok {
			source = strings.TrimSuffix(written, ")")
		}
		b.WriteString("${{ " + source + " }}")
	}
	return b.String()
}
