package planview

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/internal/tui"
	"github.com/slipway-ci/slipway/pipeline/compile"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got {
		t.Errorf("%s differs; go test ./internal/cli/planview -update writes it anew.\ngot:\n%s\nwant:\n%s", path, got, want)
	}
}

const digest = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// view compiles the example as it is seen for an event; resolved gives it a coordinator's answers.
func view(t *testing.T, event Event, resolved bool) *Workflow {
	t.Helper()
	src, err := os.ReadFile("testdata/all.yml")
	if err != nil {
		t.Fatal(err)
	}
	plan, found := compile.Draft("all.yml", src, compile.Options{})
	if plan == nil {
		t.Fatal(found)
	}
	in := Input{Plan: plan, Findings: found, Event: event, Starts: true, Unresolved: "no coordinator is set up here"}
	if resolved {
		in.Unresolved, in.Resolved = "", true
		in.Pools = map[string]string{"ubuntu-latest": "default"}
		plan.Images = map[string]string{"ubuntu-latest": "reg/runner:12@sha256:" + digest, "node:22": "reg/node@sha256:" + digest,
			"postgres:17": "reg/postgres@sha256:" + digest, "debian": "reg/debian@sha256:" + digest}
	}
	return New(in)
}

func render(t *testing.T, format string, style tui.Style, width int, all ...*Workflow) string {
	t.Helper()
	var b bytes.Buffer
	if err := Write(&b, all, format, style, width); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestFormats(t *testing.T) {
	push := Event{Name: "push", Ref: "refs/heads/main"}
	feature := Event{Name: "push", Ref: "refs/heads/feature"}
	golden(t, "push.txt", render(t, Text, tui.Style{}, 0, view(t, push, false)))
	golden(t, "resolved.txt", render(t, Text, tui.Style{Colour: true}, 80, view(t, push, true)))
	golden(t, "ascii.txt", render(t, Text, tui.Style{ASCII: true}, 60, view(t, Event{Name: "pull_request"}, true)))
	golden(t, "feature.json", render(t, JSON, tui.Style{}, 0, view(t, feature, true)))
	golden(t, "feature.dot", render(t, Dot, tui.Style{}, 0, view(t, feature, false), view(t, push, false)))
}

// TestTextFits: no line is wider than the terminal.
func TestTextFits(t *testing.T) {
	for _, width := range []int{40, 60, 80, 120} {
		for line := range strings.Lines(render(t, Text, tui.Style{}, width, view(t, Event{Name: "push", Ref: "refs/heads/x"}, true))) {
			if w := tui.Width(strings.TrimRight(line, "\n")); w > width {
				t.Errorf("%d columns in a terminal of %d: %q", w, width, line)
			}
		}
	}
}

func TestSkips(t *testing.T) {
	for _, c := range []struct {
		event Event
		want  string
	}{
		{Event{Name: "push", Ref: "refs/heads/main"}, ""},
		{Event{Name: "push", Ref: "refs/heads/x"}, "deploy after"},
		{Event{Name: "pull_request"}, "deploy after"},
		{Event{Name: "workflow_dispatch", Ref: "refs/heads/main"}, "deploy after"},
		{Event{Name: "push"}, ""},
	} {
		var got []string
		for _, j := range view(t, c.event, false).Jobs {
			if j.Skipped != "" {
				got = append(got, j.ID)
			}
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%+v skips %q, want %q", c.event, got, c.want)
		}
	}
}

// TestJSONHasEveryKey: lists are lists and not null, so that tools need not ask.
func TestJSONHasEveryKey(t *testing.T) {
	var all []map[string]any
	if err := json.Unmarshal([]byte(render(t, JSON, tui.Style{}, 0, view(t, Event{Name: "push"}, false))), &all); err != nil {
		t.Fatal(err)
	}
	for key, v := range all[0] {
		if v == nil {
			t.Errorf("%s is null", key)
		}
	}
	jobs, ok := all[0]["jobs"].([]any)
	if !ok {
		t.Fatal(all)
	}
	for _, j := range jobs {
		for key, v := range j.(map[string]any) {
			if v == nil {
				t.Errorf("a job's %s is null", key)
			}
		}
	}
}
