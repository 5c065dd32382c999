package expr

import (
	"fmt"
	"strings"
	"testing"
)

var everything = Rules{Where: "this test", Contexts: knownContexts, Functions: map[string]Arity{
	"success": {Max: -1}, "failure": {Max: -1}, "always": {}, "cancelled": {}, "hashFiles": {Min: 1, Max: MaxArity},
}}

func findings(t *testing.T, src string) string {
	t.Helper()
	e, err := Parse(src)
	if err != nil {
		t.Fatal(src, err)
	}
	var b strings.Builder
	for _, p := range e.Check(everything) {
		fmt.Fprintf(&b, "%d %v %s; ", p.Column, p.Warning, p.Message)
	}
	return b.String()
}

// TestTypesAreChecked: the column, whether it is a warning, and what is said.
func TestTypesAreChecked(t *testing.T) {
	for src, want := range map[string]string{
		"true && format('{1}', 1)":             "9 false format: {1} has no argument",
		"format('{')":                          "1 false format: a lone `{`",
		"x.y || fromJSON('{')":                 "1 false unknown context `x`",
		"github.x && fromJSON('{\"a\":}')":     "22 true fromJSON: `{\"a\":}` is not JSON",
		"true && (false || fromJSON('{'))":     "28 false fromJSON: `{` is not JSON",
		"false && fromJSON('')":                "19 true fromJSON is given an empty string, which is not JSON; it fails if it is evaluated",
		"fromJSON(' ')":                        "10 false fromJSON is given an empty string",
		"case(1, 2, 3)":                        "6 false case needs a boolean here, not number",
		"case(true, 2, 'x', 3, 4)":             "15 true case needs a boolean here, not string",
		"github == 1":                          "8 true this is always false: an object and a number",
		"github.* != 'x'":                      "10 true this is always true",
		"1 < steps":                            "3 true this is always false",
		"success() == 'true'":                  "11 true this is always false: beside a boolean the text",
		"'abc' != 1":                           "7 true this is always true",
		"github.x == NaN":                      "10 true this is always false: NaN",
		"contains(github, 'x')":                "1 true this is always false: contains does not look",
		"startsWith(github.*, 'x')":            "1 true this is always false",
		"endsWith('x', github)":                "1 true this is always false",
		"join(needs)":                          "1 true this is always empty",
		"format('{0}', github)":                "15 true format writes an object as the word `Object`",
		"format('{0}', github.*)":              "21 true format writes an array as the word `Array`",
		"toJSON(github).x":                     "15 true this is always null: a string has no properties",
		"(1).*":                                "4 true this is always an empty array",
		"(github.x == 1).y":                    "16 true this is always null: a boolean",
		"fromJSON('1') == fromJSON('[]')":      "15 true this is always false",
		"(github || 1 && github) == 'x' && !1": "",
	} {
		got := findings(t, src)
		if want == "" && strings.Contains(got, "always") || want != "" && !strings.Contains(got, want) {
			t.Errorf("%s: %s, want %s", src, got, want)
		}
	}
}

// TestTypesAreNotGuessed: what may well be meant is left alone.
func TestTypesAreNotGuessed(t *testing.T) {
	for _, src := range []string{
		"github.ref == 'refs/heads/main'", "github.event.number == '5'", "github.event.draft == 'true'", "inputs.x == 1", "'5' == 5", "true == 1", "null == github.x",
		"github == github", "case(github.x, 1, 2)", "case(github.x == 1, 1, 2)", "fromJSON(github.x).y", "fromJSON('{\"a\":1}').a == 'x'", "format('{0} {{}}', github.x)",
		"join(github.x.*, ', ')", "contains(github.x, 'y')", "contains(fromJSON('[\"a\"]'), github.x)", "toJSON(github)", "success() && github.x", "hashFiles('a') != ''",
		"github.x || 'y' == 'z'", "(github.x || 'y').z", "steps.a.outputs.b >= 5",
	} {
		if got := findings(t, src); got != "" {
			t.Errorf("%s: %s", src, got)
		}
	}
}

// TestFirstErrorOfTheText: names, arguments and symbols are judged as they come.
func TestFirstErrorOfTheText(t *testing.T) {
	for src, want := range map[string]string{
		"nope @":               "unknown context `nope` at column 1",
		"nope(@":               "unknown function `nope` at column 1",
		"contains('a') @":      "takes 2, not 1, arguments at column 1",
		"github.x @ nope":      "unexpected `@` at column 10",
		"true || nope.x":       "unknown context `nope` at column 9",
		"contains('a', nope)":  "unknown context `nope` at column 15",
		"contains(,'a')":       "unexpected `,` at column 10",
		"contains('a','b',)":   "unexpected `)` at column 18",
		"github .ref(1)":       "unexpected `(` at column 12",
		"toJSON  (github) + 1": "`+` is not a number at column 18",
	} {
		_, err := ParseFor(src, everything)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", src, err, want)
		}
	}
}
