package matrix

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/slipway-ci/slipway/pipeline/expr"
)

func expand(t *testing.T, text string) ([]Leg, error) {
	t.Helper()
	v, err := expr.FromJSON([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return Expand(v)
}

// The examples are those of GitHub's documentation and of the comments in its matrix builder, and corners beyond them.
func TestExpand(t *testing.T) {
	for _, c := range []struct{ matrix, legs, labels string }{
		{`{"a":[1,2],"b":["x","y"]}`, `{"a":1,"b":"x"} {"a":1,"b":"y"} {"a":2,"b":"x"} {"a":2,"b":"y"}`, "1, x|1, y|2, x|2, y"},
		{`{"a":[1,2],"exclude":[{"a":"1"}]}`, `{"a":2}`, "2"},
		{`{"os":["Linux","Mac"],"v":[1,2],"exclude":[{"OS":"linux","v":2}]}`, `{"os":"Linux","v":1} {"os":"Mac","v":1} {"os":"Mac","v":2}`, "Linux, 1|Mac, 1|Mac, 2"},
		{`{"include":[{"a":1},{"b":2}]}`, `{"a":1} {"b":2}`, "1|2"},
		{`{"arch":["x64","x86"],"os":["linux"],"include":[{"arch":"x64","publish":true}]}`, `{"arch":"x64","os":"linux","publish":true} {"arch":"x86","os":"linux"}`, "x64, linux|x86, linux"},
		{`{"a":[1],"include":[{"a":2}]}`, `{"a":1} {"a":2}`, "1|2"},
		{`{"a":[1],"include":[{"a":1},{"x":5}]}`, `{"a":1,"x":5}`, "1"},
		{ // The documentation's example of fruit and animals.
			`{"fruit":["apple","pear"],"animal":["cat","dog"],"include":[{"color":"green"},{"color":"pink","animal":"cat"},{"fruit":"apple","shape":"circle"},{"fruit":"banana"},{"fruit":"banana","animal":"cat"}]}`,
			`{"fruit":"apple","animal":"cat","color":"pink","shape":"circle"} {"fruit":"apple","animal":"dog","color":"green","shape":"circle"} {"fruit":"pear","animal":"cat","color":"pink"} {"fruit":"pear","animal":"dog","color":"green"} {"fruit":"banana"} {"fruit":"banana","animal":"cat"}`,
			"apple, cat|apple, dog|pear, cat|pear, dog|banana|banana, cat",
		},
		{`{"c":[{"n":1,"os":["a","b"]},{"n":2}],"exclude":[{"c":{"os":["A"]}}]}`, `{"c":{"n":2}}`, "2"},
		{`{"a":[null,"",true]}`, `{"a":null} {"a":""} {"a":true}`, "||true"},
		{`{"a":[1],"exclude":[{"a":1}],"include":[{"z":9}]}`, `{"z":9}`, "9"},
	} {
		legs, err := expand(t, c.matrix)
		if err != nil {
			t.Errorf("%s: %v", c.matrix, err)
			continue
		}
		var values, labels []string
		for _, l := range legs {
			values = append(values, expr.ToJSON(l.Values))
			labels = append(labels, l.Label)
		}
		if got := strings.Join(values, " "); got != c.legs {
			t.Errorf("%s:\n got %s\nwant %s", c.matrix, got, c.legs)
		}
		if got := strings.Join(labels, "|"); got != c.labels {
			t.Errorf("%s: labels %q, want %q", c.matrix, got, c.labels)
		}
	}
}

func TestExpandRefuses(t *testing.T) {
	numbers := strings.TrimSuffix(strings.Repeat("1,", 300), ",")
	for matrix, want := range map[string]string{
		`[]`:                            "matrix: it must be an object of axes, not a list",
		`{"a":1}`:                       "matrix.a: an axis must be a list, not a number",
		`{"a":[]}`:                      "it has no legs",
		`{}`:                            "it has no legs",
		`{"a":[1],"exclude":[{"b":1}]}`: "matrix.exclude.0.b: `b` is not an axis",
		`{"a":[1],"exclude":[{}]}`:      "matrix.exclude.0: it is empty",
		`{"a":[1],"include":{}}`:        "matrix.include: it must be a list of objects, not an object",
		`{"a":[1],"include":[null]}`:    "matrix.include.0: it must be an object, not null",
		`{"a":[` + numbers + `]}`:       "it has 300 legs, and 256 are allowed",
		`{"a":[` + numbers + `],"b":[` + numbers + `],"c":[` + numbers + `]}`: "more than 65536 combinations",
	} {
		if _, err := expand(t, matrix); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %v, want %q", matrix, err, want)
		}
	}
	// The limit is on what is left.
	if legs, err := expand(t, `{"a":[`+numbers[:256*2-1]+`]}`); err != nil || len(legs) != MaxLegs {
		t.Fatal(len(legs), err)
	}
}

func TestJobName(t *testing.T) {
	if got := JobName("test", "20, linux"); got != "test (20, linux)" {
		t.Error(got)
	}
	if got := JobName("test", ""); got != "test" {
		t.Error(got)
	}
	if got := JobName(strings.Repeat("é", 200), "x"); got != strings.Repeat("é", 97)+"..." {
		t.Error(got)
	}
}

func TestContext(t *testing.T) {
	if got := expr.ToJSON(Context(true, 1, 3, 0)); got != `{"fail-fast":true,"job-index":1,"job-total":3,"max-parallel":3}` {
		t.Error(got)
	}
}

// TestProduct: without include and exclude there is each combination once, the first axis slowest.
func TestProduct(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sizes := rapid.SliceOfN(rapid.IntRange(1, 4), 1, 4).Draw(t, "sizes")
		m := expr.NewObject()
		total := 1
		for i, n := range sizes {
			items := make([]expr.Value, n)
			for k := range items {
				items[k] = expr.Number(float64(k))
			}
			m.Set(fmt.Sprintf("a%d", i), expr.Array(items))
			total *= n
		}
		legs, err := Expand(m.Value())
		if err != nil || len(legs) != total {
			t.Fatal(len(legs), err)
		}
		for i, leg := range legs {
			rank := 0
			for k, n := range sizes {
				rank = rank*n + int(leg.Values.Get(fmt.Sprintf("a%d", k)).Float())
			}
			if rank != i {
				t.Fatalf("leg %d is combination %d", i, rank)
			}
		}
	})
}
