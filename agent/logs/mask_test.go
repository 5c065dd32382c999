package logs

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/agent/commands"
	"pgregory.net/rapid"
)

// hideSlowly is what a Masker does, as its comment says it.
func hideSlowly(text string, values []string) string {
	covered := make([]bool, len(text))
	for _, m := range formsOf(values) {
		for i := 0; m != "" && i+len(m) <= len(text); i++ {
			if text[i:i+len(m)] == m {
				for k := range m {
					covered[i+k] = true
				}
			}
		}
	}
	var out strings.Builder
	for i := range len(text) {
		switch {
		case !covered[i]:
			out.WriteByte(text[i])
		case i == 0 || !covered[i-1]:
			out.WriteString("***")
		}
	}
	return out.String()
}

// formsOf are all texts that hide these values.
func formsOf(values []string) (all []string) {
	for _, v := range values {
		for _, part := range commands.Masks(v) {
			all = append(all, Forms(part)...)
		}
	}
	return all
}

func TestMasksHideEveryOccurrence(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		masks := rapid.SliceOfN(rapid.StringMatching(`[abc]{0,5}`), 0, 6).Draw(rt, "masks")
		text := rapid.StringMatching(`[abcx]{0,40}`).Draw(rt, "text")
		if rapid.Bool().Draw(rt, "encoded") {
			text = base64.StdEncoding.EncodeToString([]byte(text))
		}
		s := NewMasks(masks...)
		want := hideSlowly(text, masks)
		if got := s.Hide(text); got != want {
			rt.Fatalf("got %q, want %q", got, want)
		}
		if s.Hides(text) != (want != text) {
			rt.Fatalf("Hides(%q) is %v", text, s.Hides(text))
		}
		m := Masker{masks: s}
		var out []byte
		for i := range len(text) {
			out = m.Write(out, []byte{text[i]})
		}
		if got := string(m.Flush(out)); got != want {
			rt.Fatalf("bytewise %q, want %q", got, want)
		}
	})
}

// TestHostileMasksCostLittle: what compares every byte with every mask would not end before the test's own limit.
func TestHostileMasksCostLittle(t *testing.T) {
	long := strings.Repeat("a", 20_000)
	f := NewFilter(NewMasks(long, long[:19_999]+"b"), false, func(commands.Command) {})
	line := append(bytes.Repeat([]byte{'a'}, 1000), ' ', '\n')
	var out []byte
	for range 2_000 {
		out = f.Write(out, line)
	}
	if out = f.Close(out); !bytes.Equal(out, bytes.Repeat(line, 2_000)) {
		t.Errorf("%d bytes of %d", len(out), 2_000*len(line))
	}
}

func TestTooManyMasksHideTheRest(t *testing.T) {
	const known = MaxMasks - 3
	var values []string
	for i := range known {
		values = append(values, fmt.Sprintf("value-%d", i))
	}
	full := NewMasks(values...)
	var in strings.Builder
	for i := known; i <= MaxMasks; i++ {
		fmt.Fprintf(&in, "::add-mask::value-%d\n", i)
	}
	fmt.Fprintf(&in, "value-%d\n::error::value-%d\n", MaxMasks, MaxMasks)
	filter := func() *Filter {
		return NewFilter(full, false, func(c commands.Command) {
			if c.Name == "error" {
				t.Error("a command after the last mask")
			}
		})
	}
	f := filter()
	var out []byte
	for chunk := range strings.Lines(in.String()) {
		out = f.Write(out, []byte(chunk))
	}
	out = f.Close(out)
	if !f.Full() || bytes.Contains(out, []byte("value-")) || !bytes.HasPrefix(out, []byte("::add-mask::***\n::add-mask::***\n::add-mask::***\n")) {
		t.Errorf("full %v, the log is %q", f.Full(), out)
	}
	whole := filter()
	if got := whole.Close(whole.Write(nil, []byte(in.String()))); !bytes.Equal(got, out) {
		t.Error("the log depends on how its bytes arrive")
	}
	if full.Full() || full.Hides("value-10000") != full.Hides("value-1000") || !full.With(values...).Full() || full.With(values...).Hide("anything") != "***" {
		t.Error("the set that others share has changed, or a full one does not hide everything")
	}
}
