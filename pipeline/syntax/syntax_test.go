package syntax

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const header = "on: push\njobs: {a: {runs-on: x, steps: [{run: a}]}}\nenv:\n"

// TestPlace: a place inside a value is where the source has the same character, however the value is written.
func TestPlace(t *testing.T) {
	for name, c := range map[string]struct{ src, mark, at string }{
		"plain":            {"  A: some text X here\n", "X", "4:16"},
		"plain, two lines": {"  A: some text\n    and X here\n", "X", "5:9"},
		"single quoted":    {"  A: 'it''s ''X'' here'\n", "X", "4:15"},
		"double quoted":    {"  A: \"é\\t\\\"\\u0041\\x20 X\"\n", "X", "4:23"},
		"double, folded":   {"  A: \"one \\\n    two X\"\n", "X", "5:9"},
		"literal":          {"  A: |-  # comment X\n\n    one\n      two X\n", "X", "7:11"},
		"literal, indent":  {"  A: |2\n      X\n", "X", "5:7"},
		"folded":           {"  A: >+\n    one\n    two\n\n    X\n", "X", "8:5"},
		"anchored":         {"  A: &here !!str  'é X'\n", "X", "4:22"},
		"carriage returns": {"  A: |\r\n    one\r\n    X\r\n", "X", "6:5"},
		"wide characters":  {"  \"😀\": é😀 X\n", "X", "4:11"},
	} {
		t.Run(name, func(t *testing.T) {
			f, found := Parse("x.yml", []byte(header+c.src), Limits{})
			if len(found) > 0 || len(f.Env.Pairs) != 1 {
				t.Fatal(found)
			}
			s := f.Env.Pairs[0].Value
			p := f.Place(s, strings.Index(s.Text, c.mark))
			if got := fmt.Sprintf("%d:%d", p.Line, p.Column); got != c.at {
				t.Errorf("%q is at %s, want %s", s.Text, got, c.at)
			}
		})
	}
}

// TestScalars follow YAML 1.2, and numbers are printed as GitHub prints them.
func TestScalars(t *testing.T) {
	for src, want := range map[string]struct {
		kind ScalarKind
		text string
	}{
		"yes": {StringScalar, "yes"}, "on": {StringScalar, "on"}, "TRUE": {BoolScalar, "true"}, "~": {NullScalar, ""},
		"1.10": {NumberScalar, "1.1"}, "010": {NumberScalar, "10"}, "0o10": {NumberScalar, "8"}, "0x1F": {NumberScalar, "31"},
		"1_000": {StringScalar, "1_000"}, "2024-01-01": {StringScalar, "2024-01-01"}, ".inf": {NumberScalar, "Infinity"},
		"-.INF": {NumberScalar, "-Infinity"}, "1e3": {NumberScalar, "1000"}, "12:30": {StringScalar, "12:30"}, "'1'": {StringScalar, "1"},
		"!!str 1.10": {StringScalar, "1.10"}, "''": {StringScalar, ""}, "1.": {NumberScalar, "1"}, "-": {StringScalar, "-"}, "+.5": {NumberScalar, "0.5"},
		"=": {StringScalar, "="}, "10000000000000000": {NumberScalar, "1E+16"}, "!!int '5'": {NumberScalar, "5"},
	} {
		f, found := Parse("x.yml", []byte(header+"  A: "+src+"\n"), Limits{})
		if src == "-" {
			continue // a list, in this place
		}
		if len(found) > 0 {
			t.Errorf("%s: %v", src, found)
			continue
		}
		if s := f.Env.Pairs[0].Value; s.Kind != want.kind || s.Text != want.text {
			t.Errorf("%s: %d %q, want %d %q", src, s.Kind, s.Text, want.kind, want.text)
		}
	}
}

func TestLimitsAreReached(t *testing.T) {
	deep := func(n int) string {
		return header + "  A: 1\nx: " + strings.Repeat("[", n) + strings.Repeat("]", n) + "\n"
	}
	has := func(src, code string, l Limits) bool {
		_, found := Parse("x.yml", []byte(src), l)
		return strings.Contains(found.String(), "("+code+")")
	}
	if has(deep(63), "too-deep", Limits{}) || !has(deep(64), "too-deep", Limits{}) || !has(deep(3), "too-deep", Limits{Depth: 3}) {
		t.Error("depth")
	}
	aliases := func(n int) string { return header + "  A: &a x\nx: [" + strings.Repeat("*a, ", n) + "]\n" }
	if has(aliases(20_000), "alias-expansion", Limits{}) || !has(aliases(20_001), "alias-expansion", Limits{}) {
		t.Error("aliases")
	}
	for _, src := range []string{
		strings.Repeat("[", 1<<20), strings.Repeat("{a: ", 1<<18), strings.Repeat("- ", 1<<19), strings.Repeat("a: &a\n", 1<<17),
		"a: " + strings.Repeat("*x ", 1<<18), strings.Repeat("? ", 1<<19), strings.Repeat("\"", 1<<20), strings.Repeat("a:\n ", 1<<18), strings.Repeat("%", 1<<20),
		strings.Repeat("!", 1<<20), "on: " + strings.Repeat("x", 1<<20-10), "on: push\n" + strings.Repeat("a: 1\n", 1<<17),
	} {
		_, found := Parse("x.yml", []byte(src), Limits{})
		if !found.HasErrors() || len(found) > maxFindings+1 {
			t.Errorf("%.20s: %d findings", src, len(found))
		}
	}
}

// TestPlacesInAnyOrder: what Place remembers of the last search changes no answer.
func TestPlacesInAnyOrder(t *testing.T) {
	src := []byte(header + "  A: \"é\\t one \\x41 😀 two\"\n  B: |\n    line one\n    😀 line\n\n    three\n  C: {x: 'it''s'}\n")
	src = []byte(strings.Replace(string(src), "  C: {x: 'it''s'}\n", "  C: 'it''s a\n    text'\n", 1))
	f, found := Parse("x.yml", src, Limits{})
	if len(found) > 0 {
		t.Fatal(found)
	}
	rapid.Check(t, func(t *rapid.T) {
		for range 20 {
			pair := rapid.IntRange(0, 2).Draw(t, "pair")
			s := f.Env.Pairs[pair].Value
			offset := rapid.IntRange(0, len(s.Text)).Draw(t, "offset")
			fresh, _ := Parse("x.yml", src, Limits{})
			if got, want := f.Place(s, offset), fresh.Place(fresh.Env.Pairs[pair].Value, offset); got != want {
				t.Fatalf("byte %d of %q is at %v, and at %v after other searches", offset, s.Text, want, got)
			}
		}
	})
}

func TestInGitHub(t *testing.T) {
	for path, want := range map[string]bool{
		".github/workflows/ci.yml": true, "a/.github/x": true, `a\.github\x`: true, ".slipway/ci.yml": false, "github/x": false, "ci.yml": false,
	} {
		if InGitHub(path) != want {
			t.Error(path)
		}
	}
}

func TestAliasesShareValuesAndOwnPlaces(t *testing.T) {
	src := "on: push\nenv: &e {A: one}\njobs:\n  a:\n    runs-on: x\n    env: *e\n    steps: [{run: a, env: *e}]\n"
	f, found := Parse("x.yml", []byte(src), Limits{})
	if len(found) > 0 {
		t.Fatal(found)
	}
	if j := f.Jobs[0]; j.Env.Pos != (Pos{6, 10}) || j.Steps[0].Env.Pairs[0].Value.Text != "one" || j.Env.Pairs[0].Value.Pos != (Pos{2, 13}) {
		t.Errorf("%+v %+v", j.Env, j.Env.Pairs[0].Value)
	}
}

// TestEveryTextComesBack: what YAML can quote, the reader reads.
func TestEveryTextComesBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[a-zé ${}'"#:,\[\]&*!|>%@-]{0,20}`).Draw(t, "text")
		src := header + "  A: '" + strings.ReplaceAll(text, "'", "''") + "'\n"
		f, found := Parse("x.yml", []byte(src), Limits{})
		if len(found) > 0 {
			t.Fatal(found)
		}
		s := f.Env.Pairs[0].Value
		if s.Text != text || s.Kind != StringScalar {
			t.Fatalf("%q became %q", text, s.Text)
		}
		for i := range text {
			p := f.Place(s, i)
			if p.Line != 4 || text[i] != ' ' && !strings.HasPrefix(string([]rune(strings.Split(src, "\n")[3])[p.Column-1:]), text[i:i+1]) && text[i] < 0x80 {
				t.Fatalf("byte %d of %q is at %v", i, text, p)
			}
		}
	})
}

func FuzzSyntax(f *testing.F) {
	files, err := filepath.Glob("../compile/testdata/*/*.yml")
	if err != nil {
		f.Fatal(err)
	}
	for _, path := range files {
		src, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(src)
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		file, found := Parse("x.yml", src, Limits{Size: 1 << 16})
		if len(found) == 0 && (len(file.On) == 0 || len(file.Jobs) == 0) {
			t.Fatal("no finding and no workflow")
		}
		check := func(s *Scalar) {
			if s == nil {
				return
			}
			for _, at := range []int{0, len(s.Text) / 2, len(s.Text)} {
				if p := file.Place(s, at); p.Line < 1 || p.Column < 1 || p.Line < s.Pos.Line {
					t.Fatalf("%+v: %v", s, p)
				}
			}
		}
		if file.Env != nil {
			for _, p := range file.Env.Pairs {
				check(p.Value)
			}
		}
		for _, j := range file.Jobs {
			check(j.If)
			for _, s := range j.Steps {
				check(s.Run)
				check(s.If)
			}
		}
	})
}
