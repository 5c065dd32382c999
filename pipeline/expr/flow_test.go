package expr

import (
	"strings"
	"testing"
)

func TestFlows(t *testing.T) {
	for src, want := range map[string]string{
		"github.event.issue.title":           "github.event.issue.title",
		"github['event'].commits[0].message": "github.event.commits.0.message",
		"github.event[inputs.x].title":       "github.event",
		"a.b == c.d":                         "",
		"!a.b":                               "",
		"a.b && c.d":                         "c.d",
		"a.b && c.d || e.f":                  "c.d e.f",
		"contains(a.b, c.d) || startsWith(e.f, 'x')": "",
		"format('{0} {1}', a.b, c.d == e.f)":         "a.b",
		"toJSON(a.b)":                                "a.b!",
		"join(a.*.b, ',')":                           "a.*.b!",
		"fromJSON(a.b).c":                            "a.b!",
		"case(a.b, c.d, e.f, g.h, i.j)":              "c.d g.h i.j",
		"hashFiles(a.b)":                             "",
		"'x'":                                        "",
	} {
		e, err := Parse(src)
		if err != nil {
			t.Fatal(src, err)
		}
		var got []string
		for _, f := range e.Flows() {
			text := strings.Join(append([]string{f.Context}, f.Path...), ".")
			if f.Whole {
				text += "!"
			}
			got = append(got, text)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: got %q, want %q", src, strings.Join(got, " "), want)
		}
	}
}

func TestDecide(t *testing.T) {
	github := NewObject()
	github.Set("event_name", String("push"))
	github.Set("ref", String("refs/heads/main"))
	contexts := NewObject()
	contexts.Set("github", github.Value())
	contexts.Set("needs", NewObject().Value())
	contexts.Set("vars", NewObject().Value())
	env := &Env{Contexts: contexts, Functions: map[string]Function{"always": func([]Value) (Value, error) { return Bool(true), nil }}}
	known := func(r Reference) bool {
		return r.Context == "github" && len(r.Path) > 0 && (r.Path[0] == "event_name" || r.Path[0] == "ref")
	}
	for src, want := range map[string]Verdict{
		"github.event_name == 'push'":                         True,
		"github.event_name == 'pull_request'":                 False,
		"needs.a.outputs.x == 'y'":                            Unknown,
		"needs.a.outputs.x && github.event_name == 'x'":       False,
		"needs.a.outputs.x || github.event_name == 'push'":    True,
		"needs.a.outputs.x || github.event_name == 'x'":       Unknown,
		"!(github.ref == 'refs/heads/main')":                  False,
		"!needs.a":                                            Unknown,
		"always()":                                            True,
		"success()":                                           Unknown,
		"success() && (startsWith(github.ref, 'refs/tags/'))": False,
		"github[vars.x] == 'a'":                               Unknown,
		"contains(fromJSON('[\"push\"]'), github.event_name)": True,
		"github.actor == 'x'":                                 Unknown,
		"fromJSON('{') == 1":                                  Unknown,
		"(needs.a && 'x') == ''":                              Unknown,
		"github.event_name == 'push' && github.ref == 'refs/heads/main' && true": True,
	} {
		e, err := Parse(src)
		if err != nil {
			t.Fatal(src, err)
		}
		if got := e.Decide(env, known); got != want {
			t.Errorf("%s: got %v, want %v", src, got, want)
		}
	}
}
