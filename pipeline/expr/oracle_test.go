package expr

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"os"
	"strings"
	"testing"
)

func testContexts(t testing.TB) *Object {
	t.Helper()
	text, err := os.ReadFile("testdata/oracle/contexts.json")
	if err != nil {
		t.Fatal(err)
	}
	v, err := FromJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	return v.Object()
}

// answer is one line of the oracle's answers, or of the list of differences.
type answer struct {
	Expr   string          `json:"e"`
	Value  json.RawMessage `json:"v,omitempty"`
	String *string         `json:"s,omitempty"`
	// Column of an error, 0 where none is known; nil of a value.
	Column *int `json:"x,omitempty"`
	// Why is the reason of a difference.
	Why string `json:"why,omitempty"`
}

// same reports whether two answers agree; columns only where both know one.
func (a answer) same(b answer) bool {
	if a.Column != nil && b.Column != nil {
		return *a.Column == *b.Column || *a.Column == 0 || *b.Column == 0
	}
	return a.Column == nil && b.Column == nil && string(a.Value) == string(b.Value) && *a.String == *b.String
}

func (a answer) describe() string {
	text, err := json.Marshal(a)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// readAnswers reads answers, their values in our own spelling of JSON, so that they compare as text.
func readAnswers(t *testing.T, r io.Reader) []answer {
	t.Helper()
	var all []answer
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var a answer
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
			t.Fatalf("%s: %v", lines.Text(), err)
		}
		if a.Value != nil {
			v, err := FromJSON(a.Value)
			if err != nil {
				t.Fatalf("%s: %v", lines.Text(), err)
			}
			a.Value = json.RawMessage(ExactJSON(v))
		}
		if (a.Value == nil) == (a.Column == nil) {
			t.Fatalf("neither a value nor an error, or both: %s", lines.Text())
		}
		all = append(all, a)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return all
}

func ourAnswer(src string, names []string, env *Env) answer {
	fail := func(column int) answer { return answer{Expr: src, Column: &column} }
	e, err := ParseFor(src, Rules{Where: "this test", Contexts: names})
	if err != nil {
		var bad *SyntaxError
		if !errors.As(err, &bad) {
			panic(err)
		}
		return fail(bad.Column)
	}
	v, err := e.Eval(env)
	if err != nil {
		var bad *EvalError
		if !errors.As(err, &bad) {
			panic(err)
		}
		return fail(bad.Column)
	}
	text := v.Text()
	return answer{Expr: src, Value: json.RawMessage(ExactJSON(v)), String: &text}
}

// TestOracle holds parser and evaluator against GitHub's own npm package: on every expression both give the same value,
// or an error at the same column. Where GitHub's C# runner, which wins, differs from the package, differences.jsonl holds
// its answer and names one of the reasons in differences.md; a difference that is none any more fails the test too.
// testdata/oracle/oracle.mjs made the answers; `make oracle` makes them again.
func TestOracle(t *testing.T) {
	file, err := os.Open("testdata/oracle/answers.jsonl.gz")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	differences := readDifferences(t)
	contexts := testContexts(t)
	var names []string
	for _, p := range contexts.Pairs() {
		names = append(names, p.Key)
	}
	env := &Env{Contexts: contexts}
	answers := readAnswers(t, unzipped)
	if *update {
		rewriteDifferences(t, answers, names, env, differences)
		return
	}
	failed := 0
	for _, oracle := range answers {
		got := ourAnswer(oracle.Expr, names, env)
		want := oracle
		if d, ok := differences[oracle.Expr]; ok {
			delete(differences, oracle.Expr)
			want = d
			if d.same(oracle) {
				t.Errorf("%s: the list has it as a difference, and it is none any more: %s", oracle.Expr, oracle.describe())
			}
		}
		if !got.same(want) {
			if failed++; failed < 50 {
				t.Errorf("got %s, want %s", got.describe(), want.describe())
			}
		}
	}
	for e := range differences {
		t.Errorf("%s: the list has it as a difference, and the oracle was not asked it", e)
	}
	if len(answers) < 7000 {
		t.Errorf("only %d expressions were compared", len(answers))
	}
	t.Logf("%d expressions, %d failed", len(answers), failed)
}

var update = flag.Bool("update", false, "write differences.jsonl anew; reasons of new ones are left to be filled in")

// rewriteDifferences keeps the reasons that are known. One without a reason fails the test until a person has judged it.
func rewriteDifferences(t *testing.T, answers []answer, names []string, env *Env, known map[string]answer) {
	t.Helper()
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	for _, oracle := range answers {
		got := ourAnswer(oracle.Expr, names, env)
		if got.same(oracle) {
			continue
		}
		got.Why = known[oracle.Expr].Why
		if err := encoder.Encode(got); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile("testdata/oracle/differences.jsonl", b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

func readDifferences(t *testing.T) map[string]answer {
	t.Helper()
	reasons, err := os.ReadFile("testdata/oracle/differences.md")
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.Open("testdata/oracle/differences.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	used := map[string]bool{}
	byExpr := map[string]answer{}
	for _, d := range readAnswers(t, file) {
		if !*update && !strings.Contains(string(reasons), "- `"+d.Why+"`: ") {
			t.Errorf("%s: differences.md has no reason `%s`", d.Expr, d.Why)
		}
		used[d.Why] = true
		byExpr[d.Expr] = d
	}
	for _, line := range strings.Split(string(reasons), "\n") {
		if name, _, ok := strings.Cut(strings.TrimPrefix(line, "- `"), "`: "); ok && strings.HasPrefix(line, "- `") && !used[name] {
			t.Errorf("no expression differs for the reason `%s` any more", name)
		}
	}
	return byExpr
}

func evaluate(src string, env *Env) (Value, error) {
	e, err := Parse(src)
	if err != nil {
		return Value{}, err
	}
	return e.Eval(env)
}
