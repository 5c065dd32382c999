package expr

import (
	"bufio"
	"encoding/json"
	"os"
	"testing"
)

func testContexts(t testing.TB) *Object {
	t.Helper()
	text, err := os.ReadFile("testdata/contexts.json")
	if err != nil {
		t.Fatal(err)
	}
	v, err := FromJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	return v.Object()
}

// TestOracle holds the evaluator against answers of GitHub's own npm package; testdata/oracle.mjs says how they were made.
func TestOracle(t *testing.T) {
	file, err := os.Open("testdata/oracle.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	env := &Env{Contexts: testContexts(t)}
	lines := bufio.NewScanner(file)
	n := 0
	for lines.Scan() {
		n++
		var want struct {
			Expr, Kind, Text, JSON string
			Error                  bool
		}
		if err := json.Unmarshal(lines.Bytes(), &want); err != nil {
			t.Fatal(err)
		}
		got, err := evaluate(want.Expr, env)
		switch {
		case (err != nil) != want.Error:
			t.Errorf("%s: error %v, want an error: %v", want.Expr, err, want.Error)
		case err != nil:
		case got.Kind().String() != want.Kind:
			t.Errorf("%s: %s, want %s", want.Expr, got.Kind(), want.Kind)
		case got.IsPrimitive() && got.Text() != want.Text:
			t.Errorf("%s: %q, want %q", want.Expr, got.Text(), want.Text)
		case !got.IsPrimitive() && ToJSON(got) != want.JSON:
			t.Errorf("%s: %s, want %s", want.Expr, ToJSON(got), want.JSON)
		}
	}
	if lines.Err() != nil || n < 700 {
		t.Fatalf("read %d cases: %v", n, lines.Err())
	}
}

func evaluate(src string, env *Env) (Value, error) {
	e, err := Parse(src)
	if err != nil {
		return Value{}, err
	}
	return e.Eval(env)
}
