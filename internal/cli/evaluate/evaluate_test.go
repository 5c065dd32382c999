package evaluate

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/pipeline/expr"
)

func evaluator(t *testing.T, contexts string) *Evaluator {
	t.Helper()
	if contexts == "" {
		return New(nil)
	}
	c, err := expr.ContextsFromJSON([]byte(contexts))
	if err != nil {
		t.Fatal(err)
	}
	return New(c)
}

func TestEval(t *testing.T) {
	const contexts = `{"github": {"Ref": "main", "list": [1, [2, "x"], {"a": null}]}, "env": {"A": "upper", "a": "lower"}, "matrix": {"A": 1}}`
	for src, want := range map[string]string{
		"github.ref == 'MAIN'":                 `true`,
		"github.list":                          `[1,[2,"x"],{"a":null}]`,
		"1e21":                                 `1e+21`,
		"1000000":                              `1000000`,
		"-0":                                   `0`,
		"NaN":                                  `{"number":"NaN"}`,
		"-Infinity":                            `{"number":"-Infinity"}`,
		"fromJSON('[1e999, {\"x\": -1e999}]')": `[{"number":"Infinity"},{"x":{"number":"-Infinity"}}]`,
		"env.A":                                `"upper"`,
		"env.a":                                `"lower"`,
		"matrix.a":                             `1`,
		"'<a & \"b\">'":                        `"<a & \"b\">"`,
		"github.missing":                       `null`,
		"success() && !failure() && !cancelled()":    `true`,
		"true || format('{0}')":                      `true`,
		"case(true, 1, fromJSON(''))":                `1`,
		" \u00a0\n1 ":                                `1`,
		"123456789012345678":                         `123456789012345680`,
		"format('{0}', 123456789012345678)":          `"1.23456789012346E+17"`,
		"toJSON(fromJSON('{\"b\": 1e15, \"a\":0}'))": `"{\n  \"b\": 1E+15,\n  \"a\": 0\n}"`,
	} {
		v, err := evaluator(t, contexts).Eval(src)
		if got := expr.ExactJSON(v); err != nil || got != want {
			t.Errorf("%s = %s (%v), want %s", src, got, err, want)
		}
	}
}

func TestErrorsHaveTheirColumn(t *testing.T) {
	for src, want := range map[string]string{
		"":                        "column 1: the expression is empty",
		"1 +":                     "column 3: `+` is not a number",
		"1 == ":                   "column 3: the expression ends too early, after `==`",
		"true || steps.x":         "column 9: the context `steps` does not exist in what was given with --context",
		"'é' == unknown.x":        "column 8: unknown context `unknown`",
		"true || nope()":          "column 9: unknown function `nope`",
		"true || contains(1)":     "column 9: contains takes 2, not 1, arguments",
		"1 == fromJSON('{')":      "column 6: fromJSON",
		"hashFiles('**')":         "column 1: hashFiles: there is no workspace here",
		"case(1, 2, 3)":           "column 6: case needs a boolean here",
		"format('{1}', github.a)": "column 1: format: {1} has no argument",
	} {
		_, err := evaluator(t, `{"github": {}}`).Eval(src)
		var f *Failure
		if !errors.As(err, &f) || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", src, err, want)
		}
	}
}

func TestStatusFunctions(t *testing.T) {
	needs := `{"needs": {"a": {"result": "success"}, "b": {"result": "failure"}, "c": {"result": "skipped"}}}`
	for _, c := range []struct{ contexts, src, want string }{
		{"", "success()", "true"}, {"", "failure() || cancelled()", "false"}, {"", "success('a')", "false"},
		{`{"job": {"status": "failure"}}`, "failure() && !success() && always()", "true"},
		{`{"job": {"status": "cancelled"}}`, "cancelled() && !failure()", "true"},
		{needs, "success()", "false"}, {needs, "failure()", "true"}, {needs, "cancelled()", "false"},
		{needs, "success('a')", "true"}, {needs, "success('a', 'c')", "false"}, {needs, "success('a', 'nope')", "false"},
		{needs, "failure('a', 'c')", "false"}, {needs, "failure('B')", "true"},
		{`{"needs": {}}`, "success()", "true"},
	} {
		v, err := evaluator(t, c.contexts).Eval(c.src)
		if err != nil || v.Text() != c.want {
			t.Errorf("%s %s = %s (%v), want %s", c.contexts, c.src, v.Text(), err, c.want)
		}
	}
}

func TestBatchAnswersEveryLine(t *testing.T) {
	long, err := json.Marshal("'" + strings.Repeat("é", 20_998) + "'")
	if err != nil {
		t.Fatal(err)
	}
	in := strings.Join([]string{
		`"1 + 1"`, `"github.n * 2"`, `"github.n"`, `not json`, ``, `5`, `null`, `["a"]`, string(long), `"` + strings.Repeat("x", maxLine) + `"`,
		`"'\u00e9' == '\u00c9'"`, "\"'x'\"\r", `  "NaN"  `, `"nope()"`,
	}, "\n")
	var out strings.Builder
	if err := evaluator(t, `{"github": {"n": 7}}`).Batch(strings.NewReader(in), &out); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	for i, want := range []string{
		`{"error":{"message":"` + "`+` is not a number" + `","column":3}}`, `"column":10}}`, `{"value":7,"string":"7"}`,
		"not a JSON string", "not a JSON string", "not a JSON string", "not a JSON string", "not a JSON string", `{"value":"ééé`, "longer than 1048576 bytes",
		`{"value":true,"string":"true"}`, `{"value":"x","string":"x"}`, `{"value":{"number":"NaN"},"string":"NaN"}`, `"column":1`,
	} {
		if i >= len(lines) || !strings.Contains(lines[i], want) || !json.Valid([]byte(lines[i])) {
			t.Fatalf("line %d of %d is not %s: %.200s", i, len(lines), want, lines[min(i, len(lines)-1)])
		}
	}
	if len(lines) != 14 {
		t.Errorf("%d answers to 14 lines", len(lines))
	}
}

// TestBatchIsAConversation: each answer comes before the next question is asked.
func TestBatchIsAConversation(t *testing.T) {
	questions, ask := io.Pipe()
	hear, answers := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- New(nil).Batch(questions, answers)
		_ = answers.Close()
	}()
	heard := bufio.NewReader(hear)
	for _, c := range [][2]string{{`"1"` + "\n", `{"value":1,"string":"1"}`}, {`"'a'"` + "\n" + `"tr`, `{"value":"a","string":"a"}`}, {`ue"` + "\n", `{"value":true,"string":"true"}`}} {
		if _, err := io.WriteString(ask, c[0]); err != nil {
			t.Fatal(err)
		}
		if line, err := heard.ReadString('\n'); err != nil || strings.TrimSpace(line) != c[1] {
			t.Fatalf("%s: %q, %v", c[0], line, err)
		}
	}
	if err := ask.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error)  { return 0, io.ErrUnexpectedEOF }
func (broken) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestBatchReportsBrokenStreams(t *testing.T) {
	if err := New(nil).Batch(broken{}, io.Discard); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
	if err := New(nil).Batch(strings.NewReader("\"1\"\n"), broken{}); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
}

// FuzzBatch: whatever comes in, each line gets one answer, which is JSON with a value or an error and nothing else.
func FuzzBatch(f *testing.F) {
	f.Add([]byte("\"1\"\n\"github.a.*\"\n\"x\n\n5\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		var out strings.Builder
		if err := New(nil).Batch(strings.NewReader(string(in)), &out); err != nil {
			t.Fatal(err)
		}
		lines := strings.Count(string(in), "\n")
		if len(in) > 0 && in[len(in)-1] != '\n' {
			lines++
		}
		answers := strings.SplitAfter(out.String(), "\n")
		if len(answers)-1 != lines {
			t.Fatalf("%d answers to %d lines", len(answers)-1, lines)
		}
		for _, a := range answers[:lines] {
			var answer map[string]json.RawMessage
			if err := json.Unmarshal([]byte(a), &answer); err != nil || (answer["error"] == nil) == (answer["value"] == nil) {
				t.Fatalf("%s: %v", a, err)
			}
		}
	})
}
