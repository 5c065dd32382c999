package expr

import "testing"

func TestUnjoin(t *testing.T) {
	for _, written := range []string{
		"ship-${{ github.ref }}", "${{ a.b }}-${{ c.d }}", "a {b} ${{ c }} }} {{0}", "it's ${{ format('{0}, x', a.b) }}!", "${{ contains(a.b, ',') }} ${{ a[b.c] }}",
		"x ${{ 'it''s (' }}", "two\nlines ${{ a.b && c.d || 'e' }}",
	} {
		parts, err := Split(written)
		if err != nil {
			t.Fatal(err)
		}
		if got := Unjoin(Join(parts)); got != written {
			t.Errorf("%q became %q", written, got)
		}
	}
	for _, src := range []string{"a.b", "format('{0}', a, b)", "format(a.b, c)", "format('x{9}', a)", "format('{', a)", "format('x", "format('{0}{1}', a)", ""} {
		if got := Unjoin(src); got != src {
			t.Errorf("%q became %q", src, got)
		}
	}
}

func FuzzUnjoin(f *testing.F) {
	f.Add("a ${{ b }} {c}")
	f.Add("format('{0}', a)")
	f.Fuzz(func(t *testing.T, text string) {
		Unjoin(text)
		parts, err := Split(text)
		if err != nil || len(parts) < 2 {
			return
		}
		joined := Join(parts)
		if written := Unjoin(joined); written != joined {
			again, err := Split(written)
			if err != nil || Join(again) != joined {
				t.Fatalf("%q became %q", text, written)
			}
		}
	})
}
