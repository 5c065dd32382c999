package logs

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

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

func TestHostileMasksCostLittle(t *testing.T) {
	began := time.Now()
	long := strings.Repeat("a", 60_000)
	f := NewFilter(NewMasks(long, long[:59_999]+"b"), false, func(commands.Command) {})
	line := append(bytes.Repeat([]byte{'a'}, 1000), ' ', '\n')
	var out []byte
	for range 2_000 {
		out = f.Write(out[:0], line)
	}
	if d := time.Since(began); d > 10*time.Second {
		t.Errorf("2 MB took %s", d)
	}
}

func TestTooManyMasksHideTheRest(t *testing.T) {
	var in strings.Builder
	for i := range MaxMasks + 1 {
		fmt.Fprintf(&in, "::add-mask::value-%d\n", i)
	}
	fmt.Fprintf(&in, "value-%d\n::error::value-%d\n", MaxMasks, MaxMasks)
	f := NewFilter(nil, false, func(c commands.Command) {
		if c.Name == "error" {
			t.Error("a command after the last mask")
		}
	})
	var out []byte
	for chunk := range strings.Lines(in.String()) {
		out = f.Write(out, []byte(chunk))
	}
	out = f.Close(out)
	if !f.Full() || bytes.Contains(out, []byte("value-")) {
		t.Errorf("full %v, the log ends with %q", f.Full(), out[len(out)-200:])
	}
	whole := NewFilter(nil, false, func(commands.Command) {})
	if got := whole.Close(whole.Write(nil, []byte(in.String()))); !bytes.Equal(got, out) {
		t.Error("the log depends on how its bytes arrive")
	}
}
