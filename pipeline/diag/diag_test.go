package diag

import "testing"

func TestString(t *testing.T) {
	l := List{
		{Path: "b.yml", Line: 2, Column: 3, Severity: Warning, Code: "w", Message: "careful"},
		{Path: "a.yml", Code: "e", Message: "too large", Hint: "split it"},
		{Path: "b.yml", Line: 1, Column: 9, Code: "e", Message: "wrong"},
		{Path: "b.yml", Line: 1, Column: 9, Code: "e", Message: "wrong"},
	}
	want := "a.yml: error: too large (e)\n  hint: split it\nb.yml:1:9: error: wrong (e)\nb.yml:2:3: warning: careful (w)\n"
	if got := l.Sort().String(); got != want {
		t.Errorf("%s", got)
	}
	if !l.HasErrors() || (List{{Severity: Warning}}).HasErrors() {
		t.Error("HasErrors")
	}
}

func TestNearest(t *testing.T) {
	keys := []string{"steps", "strategy", "services", "runs-on", "if", "env"}
	for word, want := range map[string]string{"step": "steps", "stpes": "steps", "run-on": "runs-on", "RUNS_ON": "runs-on", "fi": "if", "foo": "", "evn": "env", "x": ""} {
		if got := Nearest(word, keys); got != want {
			t.Errorf("%s: %q, want %q", word, got, want)
		}
	}
	if DidYouMean("stpes", keys) != "did you mean `steps`?" || DidYouMean("zzzzzz", keys) != "" {
		t.Error("DidYouMean")
	}
}
