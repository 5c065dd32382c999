package tui

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
)

func TestOnlyColoursGetThrough(t *testing.T) {
	for in, want := range map[string]string{
		"\x1b[1;31mred\x1b[0m":           "\x1b[1;31mred\x1b[0m\x1b[0m",
		"\x1b[38:2::1:2:3mx":             "\x1b[38:2::1:2:3mx\x1b[0m",
		"\x1b[>4;2mkeys":                 "keys",
		"\x1b[?25lhidden":                "hidden",
		"\x1b[2J\x1b[H\x1b[5A\x1b[sx":    "x",
		"\x1b]0;title\ax\x1b]8;;u\x1b\\": "x",
		"\x1b\x1b[2Jx\x1bc":              "[2Jx",
		"\u009b2Jx\b\b\x00":              "2Jx",
		"unfinished \x1b[31":             "unfinished ",
	} {
		if got := printable(in, true); got != want {
			t.Errorf("%q became %q, want %q", in, got, want)
		}
		if got := printable(in, false); strings.Contains(got, "\x1b") {
			t.Errorf("%q became %q without colours", in, got)
		}
	}
	if got := Clean("\x1b[31ma\nb\tc\u202e"); got != "a b c" {
		t.Errorf("%q", got)
	}
}

func TestNothingElseOfAnEscapeGetsThrough(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := rapid.StringMatching("[\x1b\\[\\]>?0-9;mJHx\a\\\\P\x07\x08]{0,20}").Draw(t, "in")
		out := printable(in, true)
		for rest := out; ; {
			i := strings.IndexByte(rest, '\x1b')
			if i < 0 {
				break
			}
			end, colour := escapeEnd(rest, i)
			if !colour {
				t.Fatalf("%q became %q", in, out)
			}
			rest = rest[end:]
		}
	})
}

func TestLongLinesCostNoMemory(t *testing.T) {
	m := NewModel("r1")
	for range 20 {
		m.Log("r1", &apiv1.StreamLogsResponse{JobId: "a", Step: 1, Data: []byte(strings.Repeat("x", 1<<20) + "\n")})
	}
	for _, l := range m.runs[0].tails["a"].lines {
		if len(l) > maxPartial {
			t.Fatalf("a line of %d bytes is kept", len(l))
		}
	}
}
