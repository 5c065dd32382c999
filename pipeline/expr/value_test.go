package expr

import (
	"fmt"
	"strings"
	"testing"
)

func TestWithLeavesTheOriginalAlone(t *testing.T) {
	keys := func(o *Object) string {
		var b strings.Builder
		for _, p := range o.Pairs() {
			b.WriteString(p.Key + "=" + p.Value.Text() + " ")
		}
		return b.String()
	}
	for _, n := range []int{2, 7, 8, 30} {
		first, want := NewObject(), ""
		for i := range n {
			first.Set(fmt.Sprintf("k%d", i), Number(float64(i)))
			want += fmt.Sprintf("k%d=%d ", i, i)
		}
		second := first.With(Pair{"K1", String("other")}, Pair{"own", String("second")})
		first.Set("later", String("first"))
		third := second.With(Pair{"more", Null()})
		if got := keys(first); got != want+"later=first " {
			t.Errorf("%d: the original is %s", n, got)
		}
		if got := keys(second); got != strings.Replace(want, "k1=1", "k1=other", 1)+"own=second " {
			t.Errorf("%d: the copy is %s", n, got)
		}
		for o, missing := range map[*Object]string{first: "own", second: "later", third: "later"} {
			if _, ok := o.Get(missing); ok {
				t.Errorf("%d: %s of another object is found", n, missing)
			}
		}
		for _, o := range []*Object{first, second, third} {
			for i, p := range o.Pairs() {
				if o.find(strings.ToUpper(p.Key)) != i {
					t.Errorf("%d: %s is not found", n, p.Key)
				}
			}
		}
	}
}
