package commands

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"
)

func TestParsePairs(t *testing.T) {
	cases := []struct {
		name, text string
		want       []Pair
		err        string
	}{
		{"empty", "", nil, ""},
		{"one", "a=b\n", []Pair{{"a", "b"}}, ""},
		{"no line feed at the end", "a=b", []Pair{{"a", "b"}}, ""},
		{"value holds an equals sign and <<", "a=b=c<<d", []Pair{{"a", "b=c<<d"}}, ""},
		{"empty value", "a=\n", []Pair{{"a", ""}}, ""},
		{"blank lines between", "\na=b\n\nc=d\n", []Pair{{"a", "b"}, {"c", "d"}}, ""},
		{"heredoc", "a<<EOF\none\ntwo\nEOF\nb=c\n", []Pair{{"a", "one\ntwo"}, {"b", "c"}}, ""},
		{"empty heredoc", "a<<EOF\nEOF\n", []Pair{{"a", ""}}, ""},
		{"heredoc of one blank line", "a<<EOF\n\nEOF\n", []Pair{{"a", ""}}, ""},
		{"heredoc keeps blank lines", "a<<EOF\n\nx\n\nEOF", []Pair{{"a", "\nx\n"}}, ""},
		{"heredoc whose delimiter holds an equals sign", "a<<E=F\nx\nE=F\n", []Pair{{"a", "x"}}, ""},
		{"delimiter is exact", "a<<EOF\nx\n EOF\nEOF \nEOF\n", []Pair{{"a", "x\n EOF\nEOF "}}, ""},
		{"carriage return belongs to the value", "a=b\r\n", []Pair{{"a", "b\r"}}, ""},
		{"byte order mark", "\uFEFFa=b", []Pair{{"a", "b"}}, ""},
		{"no delimiter found", "ok=1\na<<EOF\nx\n", nil, "Unable to process file command 'output' successfully. Line 2: Invalid value. Matching delimiter not found 'EOF'"},
		{"neither", "hello\n", nil, "Unable to process file command 'output' successfully. Line 1: Invalid format 'hello'"},
		{"no name", "=x\n", nil, "Unable to process file command 'output' successfully. Line 1: Invalid format '=x'. Name must not be empty"},
		{"no delimiter", "a<<\n", nil, "Unable to process file command 'output' successfully. Line 1: Invalid format 'a<<'. Name must not be empty and delimiter must not be empty"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := ParsePairs("GITHUB_OUTPUT", []byte(c.text))
			if c.err != "" {
				var fe *FormatError
				if !errors.As(err, &fe) || err.Error() != c.err {
					t.Fatalf("error %q, want %q", err, c.err)
				}
				return
			}
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %q, %v; want %q", got, err, c.want)
			}
		})
	}
}

func TestHeredocKeepsAnyValue(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		value := rapid.String().Draw(rt, "value")
		const delimiter = "ghadelimiter_f3a1"
		got, err := ParsePairs("GITHUB_OUTPUT", []byte("name<<"+delimiter+"\n"+value+"\n"+delimiter+"\n"))
		if err != nil || len(got) != 1 || got[0].Value != value {
			rt.Fatalf("%q came back as %q, %v", value, got, err)
		}
	})
}

func TestParseEnvRefusesNodeOptions(t *testing.T) {
	for _, text := range []string{"NODE_OPTIONS=--require x\n", "node_options<<E\nx\nE\n"} {
		if _, err := ParseEnv([]byte(text)); err == nil || !strings.Contains(err.Error(), "using '$GITHUB_ENV' command.") {
			t.Errorf("%q: %v", text, err)
		}
	}
	if _, err := ParseEnv([]byte("A=b\x00c")); err == nil {
		t.Error("a NUL was accepted")
	}
}

func TestParsePaths(t *testing.T) {
	if got := ParsePaths([]byte("/a\n\n/b\r\n/c")); !reflect.DeepEqual(got, []string{"/a", "/b", "/c"}) {
		t.Errorf("got %q", got)
	}
}

func TestParseLine(t *testing.T) {
	c, ok := ParseLine("  ::error file=a%2Cb.js,line=3,col=7,title=T%3A::100%25 bad%0Anext")
	if !ok {
		t.Fatal("not a command")
	}
	a, ok := c.Annotation()
	if !ok || a.File != "a,b.js" || a.Line != 3 || a.Column != 7 || a.Title != "T:" || a.Message != "100% bad\nnext" {
		t.Errorf("annotation %v", a)
	}
	for _, no := range []string{"", "::", ":error::", "::error", "x ::error::y", ":: ::y"} {
		if _, ok := ParseLine(no); ok {
			t.Errorf("%q was taken for a command", no)
		}
	}
}

func TestCouldBeginNeverGivesUpOnACommand(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		line := rapid.StringMatching(`[ \t]{0,3}:{0,3}[a-z]{0,5}:{0,3}[a-z]{0,3}`).Draw(rt, "line")
		if _, ok := ParseLine(line); !ok {
			return
		}
		for i := range line {
			if !CouldBegin([]byte(line[:i])) {
				rt.Fatalf("gave up on %q after %d bytes", line, i)
			}
		}
	})
}

func TestMasksHideTheValueAndEachLine(t *testing.T) {
	if got := Masks(" a\r\n\tb c "); !reflect.DeepEqual(got, []string{" a\r\n\tb c ", "a", "b c"}) {
		t.Errorf("got %q", got)
	}
	if got := Masks("a\nb\n\n"); !reflect.DeepEqual(got, []string{"a\nb\n\n", "a", "b"}) {
		t.Errorf("got %q", got)
	}
	if got := Masks("  \n"); got != nil {
		t.Errorf("blank: %q", got)
	}
}

func FuzzParsePairs(f *testing.F) {
	f.Add([]byte("a<<b\nc\nb"))
	f.Fuzz(func(_ *testing.T, data []byte) { _, _ = ParsePairs("GITHUB_ENV", data) })
}

func TestHostileFilesAreBounded(t *testing.T) {
	got, err := ParsePairs("GITHUB_OUTPUT", []byte("a=1\nb=\xff\xfe\na=2\n"))
	if err != nil || !slices.Equal(got, []Pair{{"a", "2"}, {"b", "\uFFFD"}}) {
		t.Errorf("%q, %v", got, err)
	}
	var format *FormatError
	if _, err := ParsePairs("GITHUB_OUTPUT", bytes.Repeat([]byte("x"), 10<<20)); !errors.As(err, &format) || len(err.Error()) > 1000 {
		t.Errorf("an endless line: %.100v", err)
	}
	if _, err := ParsePairs("GITHUB_OUTPUT", []byte("x<<"+strings.Repeat("é", 5<<20))); !errors.As(err, &format) || len(err.Error()) > 1000 || !utf8.ValidString(err.Error()) {
		t.Errorf("an endless delimiter: %.100v", err)
	}
	var many strings.Builder
	for i := range MaxPairs + 1 {
		fmt.Fprintf(&many, "k%d=\n", i)
	}
	if _, err := ParsePairs("GITHUB_OUTPUT", []byte(many.String())); !errors.As(err, &format) || format.Line != MaxPairs+1 {
		t.Errorf("%.100v", err)
	}
	if c, ok := ParseLine("::error title=\xff::a\xffb"); !ok || c.Value != "a\uFFFDb" || c.Properties["title"] != "\uFFFD" {
		t.Errorf("%q", c)
	}
	if c, ok := ParseLine("::add-mask::a\xffb"); !ok || c.Value != "a\xffb" {
		t.Errorf("a mask is bytes: %q", c)
	}
}

func TestRefused(t *testing.T) {
	for line, want := range map[string]string{
		"::set-env name=A::b":         "$GITHUB_ENV",
		"::add-path::/x":              "$GITHUB_PATH",
		"::set-output::v":             "has no name",
		"::save-state name=::v":       "has no name",
		"::echo::":                    `not ""`,
		"::stop-commands::":           "needs a token",
		"::stop-commands::Set-Output": "needs a token",
		"::set-output name=a::v":      "",
		"::echo::ON":                  "",
		"::stop-commands::x":          "",
		"::add-mask::":                "",
		"::no-such-command::":         "",
	} {
		c, ok := ParseLine(line)
		if got := c.Refused(); !ok || want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
}
