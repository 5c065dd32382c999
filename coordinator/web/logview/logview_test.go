package logview_test

import (
	"fmt"
	"html"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"pgregory.net/rapid"

	"github.com/slipway-ci/slipway/coordinator/web/logview"
)

func render(pieces ...string) []logview.Line {
	var r logview.Renderer
	var out []logview.Line
	for _, p := range pieces {
		out = append(out, r.Write([]byte(p))...)
	}
	return append(out, r.Close()...)
}

func TestLines(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"plain", "a\nb\n\nc", "0 a|0 b|0 |0 c"},
		{"escaped", `<script>alert("x&y")</script>'`, "0 &lt;script&gt;alert(&#34;x&amp;y&#34;)&lt;/script&gt;&#39;"},
		{"colours last until they are reset", "\x1b[31mred\nstill\x1b[0m not\n", `0 <span class="f1">red</span>|0 <span class="f1">still</span> not`},
		{"several at once", "\x1b[1;4;92;44mx", `0 <span class="f10 b4 bd ul">x</span>`},
		{"empty parameters reset", "\x1b[1mx\x1b[my", `0 <span class="bd">x</span>y`},
		{"256 colours and true colour", "\x1b[38;5;208ma\x1b[48;2;255;0;0mb\x1b[38;5;999mc", `0 <span class="f208">a</span><span class="f208 b196">bc</span>`},
		{"inverse", "\x1b[7;31mx\x1b[27my", `0 <span class="inv b1">x</span><span class="f1">y</span>`},
		{"other sequences go", "a\x1b[2Kb\x1b]0;title\ac\x1b]8;;http://x\x1b\\d\x1b(Be\x1b[>4;1mf", "0 abcd" + "Bef"},
		{"an unfinished sequence takes the rest", "a\x1b[31", "0 a"},
		{"progress", "10%\r50%\r100%\n", "0 100%"},
		{"colours of what was overwritten stay", "\x1b[32m1%\r2%\n", `0 <span class="f2">2%</span>`},
		{"windows lines", "a\r\nb\r\n", "0 a|0 b"},
		{"controls and overrides", "a\x00b\x07c\u202ed\u2066e", "0 abcde"},
		{"not UTF-8", "a\xffb", "0 a\ufffdb"},
		{"groups", "::group::Install <b>\nx\n::endgroup::\ny", "1 Install &lt;b&gt;|0 x|2 |0 y"},
		{"the runner's own form", "##[group]Run\n##[endgroup]\n##[error]bad", "1 Run|2 |3 bad"},
		{"messages", "::error file=a.go,line=3::it 100%25 %0A broke\n  ::warning::w\n::notice::n\n::debug::d", "3 it 100%   broke|4 w|5 n|6 d"},
		{"other commands stay", "::set-output name=a::b\n::add-mask::***\n:: x\n::", "0 ::set-output name=a::b|0 ::add-mask::***|0 :: x|0 ::"},
		{"stopped commands", "::stop-commands::tok\n::group::x\n::tok::\n::group::y", "0 ::stop-commands::tok|0 ::group::x|0 ::tok::|1 y"},
	} {
		var got []string
		for _, l := range render(c.in) {
			got = append(got, fmt.Sprintf("%d %s", l.Kind, l.HTML))
		}
		if strings.Join(got, "|") != c.want {
			t.Errorf("%s: got %q, want %q", c.name, strings.Join(got, "|"), c.want)
		}
	}
}

func TestLongLinesAreBroken(t *testing.T) {
	lines := render(strings.Repeat("x", 2*logview.MaxLine) + "::group::y\nz")
	if len(lines) != 4 || len(lines[0].HTML) != logview.MaxLine || lines[2].HTML != "::group::y" || lines[2].Kind != logview.Text || lines[3].HTML != "z" {
		t.Errorf("%d lines", len(lines))
	}
}

func TestPendingIsWhatIsNotShown(t *testing.T) {
	var r logview.Renderer
	if lines := r.Write([]byte("whole\npart")); len(lines) != 1 || r.Pending() != 4 {
		t.Errorf("%d lines, %d bytes pending", len(lines), r.Pending())
	}
	if lines := r.Write([]byte(" of\n")); len(lines) != 1 || r.Pending() != 0 || lines[0].HTML != "part of" {
		t.Errorf("%v, %d bytes pending", lines, r.Pending())
	}
}

// ours is every tag that a line may have.
var ours = regexp.MustCompile(`<span class="[a-z0-9 ]+">|</span>`)

// Whatever comes, and however it is cut, what is shown is text within our own spans, each closed in its line, and the same.
func TestAnyBytesAreSafe(t *testing.T) {
	piece := rapid.OneOf(rapid.SliceOfN(rapid.Byte(), 0, 20), rapid.Map(rapid.SampledFrom([]string{"<script>", "\x1b[31m", "\x1b[", "\x1b]0;", "\a", "\n", "\r", "::group::", "::endgroup::\n",
		"\"onclick=", "&lt;", "\u202e", "38;5;1m", "\x1b[38;2;1;2;3m"}), func(s string) []byte { return []byte(s) }))
	rapid.Check(t, func(t *rapid.T) {
		pieces := rapid.SliceOfN(piece, 0, 30).Draw(t, "pieces")
		var split []string
		for _, p := range pieces {
			split = append(split, string(p))
		}
		lines := render(split...)
		if again := render(strings.Join(split, "")); fmt.Sprint(again) != fmt.Sprint(lines) {
			t.Errorf("cut differently: %v, %v", again, lines)
		}
		for _, l := range lines {
			rest := ours.ReplaceAllString(string(l.HTML), "")
			if strings.ContainsAny(rest, "<>\"'") || strings.ContainsFunc(html.UnescapeString(rest), func(r rune) bool { return r != '\t' && unicode.IsControl(r) }) {
				t.Errorf("%q is not safe", l.HTML)
			}
			if strings.Count(string(l.HTML), "<span") != strings.Count(string(l.HTML), "</span>") {
				t.Errorf("%q is not balanced", l.HTML)
			}
		}
	})
}
