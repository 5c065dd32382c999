package logs

import (
	"bytes"
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/agent/commands"
	"pgregory.net/rapid"
)

func run(masks []string, chunks ...string) (string, []commands.Command) {
	var events []commands.Command
	f := NewFilter(NewMasks(masks...), false, func(c commands.Command) { events = append(events, c) })
	var out []byte
	for _, c := range chunks {
		out = f.Write(out, []byte(c))
	}
	return string(f.Close(out)), events
}

func TestFilterMasks(t *testing.T) {
	cases := []struct {
		name, in, want string
		masks          []string
	}{
		{"nothing to hide", "a\nb", "a\nb", nil},
		{"known mask", "my s3cret!\n", "my ***!\n", []string{"s3cret"}},
		{"masks that overlap become one", "xabcdex", "x***x", []string{"abc", "cde"}},
		{"masks that touch become one", "abab", "***", []string{"ab"}},
		{"a mask over itself", "-aaa-", "-***-", []string{"aa"}},
		{"declared by the step", "s1\n::add-mask::s1\ns1\n", "s1\n::add-mask::***\n***\n", nil},
		{"declared with escapes, each line", "::add-mask::one%0Atwo\nhas two and one\n", "::add-mask::***\nhas *** and ***\n", nil},
		{"the declaration has no line feed", "::add-mask::x", "::add-mask::***", nil},
		{"blank mask", "::add-mask::  \na  b\n", "::add-mask::***\na  b\n", nil},
		{"commands stopped", "::stop-commands::tok\n::add-mask::v\nv\n::tok::\n::add-mask::v\nv\n", "::stop-commands::tok\n::add-mask::v\nv\n::tok::\n::add-mask::***\n***\n", nil},
		{"mask over lines", "begin\nline1\nline2\nend", "begin\n***\nend", []string{"line1\nline2"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			if got, _ := run(c.masks, c.in); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestFilterDoesNotDependOnChunks(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		masks := rapid.SliceOfN(rapid.StringMatching(`[ab\n]{1,4}`), 0, 3).Draw(rt, "masks")
		pieces := rapid.SliceOf(rapid.OneOf(
			rapid.StringMatching(`[ab :\n]{0,6}`), rapid.Just("::add-mask::ab\n"), rapid.Just("\n::error::a\n"), rapid.Just("::stop-commands::q\n"), rapid.Just("\n::q::\n"),
		)).Draw(rt, "pieces")
		text := strings.Join(pieces, "")
		whole, wholeEvents := run(masks, text)
		bytewise := strings.Split(text, "")
		cut, cutEvents := run(masks, bytewise...)
		if whole != cut || len(wholeEvents) != len(cutEvents) {
			rt.Fatalf("whole %q (%d events), bytewise %q (%d events)", whole, len(wholeEvents), cut, len(cutEvents))
		}
		n := rapid.IntRange(0, len(text)).Draw(rt, "cut")
		if two, _ := run(masks, text[:n], text[n:]); two != whole {
			rt.Fatalf("cut at %d: %q, whole %q", n, two, whole)
		}
		for _, m := range masks {
			if strings.TrimSpace(m) != "" && strings.Contains(strings.ReplaceAll(whole, "***", "\x00"), m) && !strings.Contains(text, "add-mask") {
				rt.Fatalf("%q still holds %q", whole, m)
			}
		}
	})
}

func TestFilterPassesEverythingElseUnchanged(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.StringMatching(`[a-z :\n\r\t]{0,60}`).Draw(rt, "text")
		if got, _ := run(nil, strings.Split(text, "")...); got != text {
			rt.Fatalf("%q became %q", text, got)
		}
	})
}

func TestFilterLetsAnUnfinishedLineThrough(t *testing.T) {
	f := NewFilter(nil, false, func(commands.Command) {})
	if got := f.Write(nil, []byte("progress 10%")); string(got) != "progress 10%" {
		t.Errorf("held back: %q", got)
	}
	long := append([]byte("::"), bytes.Repeat([]byte{'x'}, commands.MaxLine)...)
	f = NewFilter(nil, false, func(commands.Command) { t.Error("an endless line is no command") })
	got := f.Write(nil, long)
	got = f.Close(f.Write(got, []byte("::y\n")))
	if len(got) != len(long)+4 {
		t.Errorf("%d bytes of %d", len(got), len(long)+4)
	}
}

// TestAMaskThatIsTooLongIsNotShown: it can't be hidden wherever it appears, so nothing that follows is shown.
func TestAMaskThatIsTooLongIsNotShown(t *testing.T) {
	in := "before\n ::add-mask::" + strings.Repeat("v", commands.MaxLine) + "\nafter vvvv\n"
	for name, chunks := range map[string][]string{"whole": {in}, "cut": {in[:50], in[50:40_000], in[40_000:]}} {
		f := NewFilter(nil, false, func(c commands.Command) { t.Errorf("%s: %q", name, c) })
		var out []byte
		for _, c := range chunks {
			out = f.Write(out, []byte(c))
		}
		if want := "before\n::add-mask::***\n" + TooMany + ": the rest of this output is hidden.\n"; string(f.Close(out)) != want || !f.Full() {
			t.Errorf("%s: %.200q, full %t", name, out, f.Full())
		}
	}
	stopped := "::stop-commands::tok\n" + in
	if got, _ := run(nil, stopped); got != stopped {
		t.Errorf("commands are stopped: %d bytes of %d", len(got), len(stopped))
	}
}

func BenchmarkFilter(b *testing.B) {
	block := bytes.Repeat([]byte("a usual line of a build's output, neither long nor short\n"), 1000)
	for name, masks := range map[string][]string{"no masks": nil, "three masks": {"hunter2-hunter2", "AKIAIOSFODNN7EXAMPLE", "s3cr3t"}} {
		b.Run(name, func(b *testing.B) {
			f := NewFilter(NewMasks(masks...), false, func(commands.Command) {})
			b.SetBytes(int64(len(block)))
			var out []byte
			for b.Loop() {
				out = f.Write(out[:0], block)
			}
		})
	}
}

// BenchmarkFilterForms is a job with the secrets of a usual deployment.
func BenchmarkFilterForms(b *testing.B) {
	block := bytes.Repeat([]byte("a usual line of a build's output, neither long nor short\n"), 1000)
	masks := NewMasks(planted(1, 40), planted(2, 40), planted(3, 64), planted(4, 20), planted(5, 100))
	f := NewFilter(masks, false, func(commands.Command) {})
	b.SetBytes(int64(len(block)))
	var out []byte
	for b.Loop() {
		out = f.Write(out[:0], block)
	}
	b.ReportMetric(float64(len(masks.nodes)), "nodes")
}
