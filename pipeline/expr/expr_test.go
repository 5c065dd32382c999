package expr

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// What GitHub's C# runner does, where the npm package differs or has no answer.
func TestEval(t *testing.T) {
	env := &Env{Contexts: testContexts(t), Functions: map[string]Function{
		"hashFiles": func(args []Value) (Value, error) { return String(fmt.Sprint(len(args))), nil },
		"broken":    func([]Value) (Value, error) { return Value{}, errors.New("no") },
	}}
	for src, want := range map[string]string{
		`1000000000000000`:                 "1E+15",
		`123456789012345678`:               "1.23456789012346E+17",
		`0.0001`:                           "0.0001",
		`0.00001`:                          "1E-05",
		`-1.5e-7`:                          "-1.5E-07",
		`-0`:                               "0",
		`0xFFFFFFFF`:                       "-1",
		`1e999`:                            "Infinity",
		`toJSON(NaN)`:                      "NaN",
		`format('{0}', 'x', fromJSON(''))`: "x",
		`case(true, 1, fromJSON(''))`:      "1",
		`null >= null`:                     "true",
		`null > null`:                      "false",
		`'é' == 'É'`:                       "true",
		`'ı' == 'I'`:                       "false",
		`'😀' > '￿'`:                        "false",
		`fromJSON('{"a":1,"A":2}').a`:      "1",
		`toJSON(fromJSON('{"b":{},"a":[],"c":"<>&\u2028"}'))`: "{\n  \"b\": {},\n  \"a\": [],\n  \"c\": \"<>&\\u2028\"\n}",
		`HASHFILES('a', 'b')`:                            "2",
		`github.event == github.event`:                   "true",
		`github.event == fromJSON(toJSON(github.event))`: "false",
		`format('{{{0}}}', '}')`:                         "{}}",
		`join(github.event.list, '-')`:                   "a-B-3-true--Array",
		`join(github.event.empty)`:                       "",
		`(1)[0]`:                                         "",
		`!!'x'`:                                          "true",
		`1 < 2 == true`:                                  "true",
		`1 == 2 == false`:                                "true",
		`github [ 'ref' ]`:                               "refs/heads/main",
	} {
		got, err := evaluate(src, env)
		if err != nil || got.Text() != want {
			t.Errorf("%s = %q (%v), want %q", src, got.Text(), err, want)
		}
	}
}

func TestEvalErrors(t *testing.T) {
	env := &Env{Contexts: testContexts(t), Functions: map[string]Function{
		"broken": func([]Value) (Value, error) { return Value{}, errors.New("no") },
	}}
	for src, want := range map[string]string{
		`true && nothing.x`:     "there is no context `nothing` here at column 9",
		`'a' == broken()`:       "broken: no at column 8",
		`missing()`:             "there is no function `missing` here at column 1",
		`format('{1}', 1)`:      "format: {1} has no argument at column 1",
		`format('{')`:           "a lone `{`",
		`format('{0:x}', 1)`:    "not the number of an argument",
		`case(1, 2, 3)`:         "case needs a boolean here, not a Number at column 6",
		`fromJSON('')`:          "empty string",
		`fromJSON('{"a":1} x')`: "not JSON",
		`fromJSON('[1')`:        "not JSON",
	} {
		_, err := evaluate(src, env)
		var ee *EvalError
		if !errors.As(err, &ee) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", src, err, want)
		}
	}
}

func TestSyntaxErrors(t *testing.T) {
	for src, want := range map[string]string{
		``:                              "empty at column 1",
		`  `:                            "empty at column 1",
		`1 = 2`:                         "unexpected `=` at column 3",
		`a &  b`:                        "unexpected `&` at column 3",
		`'a`:                            "no closing ' at column 1",
		`"a"`:                           "unexpected `\"a\"` at column 1",
		`(1`:                            "ends where `)` is missing",
		`f(1,`:                          "ends too early",
		`a..b`:                          "unexpected `.` at column 3",
		`a.`:                            "ends too early, after `.` at column 2",
		`'abc'[0]`:                      "unexpected `[` at column 6",
		`1.2.3`:                         "`1.2.3` is not a number",
		`a b`:                           "unexpected `b` at column 3",
		`é == 1`:                        "unexpected `é` at column 1",
		`'é' é`:                         "column 5",
		`*`:                             "unexpected `*`",
		`a[`:                            "ends too early",
		strings.Repeat("(", 2000) + "1": "nested too deeply",
		strings.Repeat("!", 60) + "1":   "deeper than 50",
		"'" + strings.Repeat("x", MaxLength) + "'": "longer than 21000",
	} {
		_, err := Parse(src)
		var se *SyntaxError
		if !errors.As(err, &se) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40s: %v, want %q", src, err, want)
		}
	}
	for _, src := range []string{
		strings.Repeat("true && ", 1000) + "true",
		strings.Repeat("(", 200) + "1" + strings.Repeat(")", 200),
		"'" + strings.Repeat("é", MaxLength-2) + "'",
	} {
		if _, err := Parse(src); err != nil {
			t.Errorf("%.40s: %v", src, err)
		}
	}
}

func TestMemoryIsBounded(t *testing.T) {
	src := "'0123456789'"
	for range 15 {
		src = "format('{0}{0}{0}{0}', " + src + ")"
	}
	_, err := evaluate(src, nil)
	if !errors.Is(err, errTooLarge) {
		t.Fatalf("4^15 copies: %v", err)
	}
	// The limit itself is reached: one step less than too much is fine.
	env := &Env{Contexts: NewObject(Pair{"s", String(strings.Repeat("x", MaxBytes/2))})}
	if _, err := evaluate("format('{0}', s)", env); err != nil {
		t.Fatal(err)
	}
	if _, err := evaluate("join(fromJSON('[1,2,3]'), s)", env); !errors.Is(err, errTooLarge) {
		t.Fatalf("join: %v", err)
	}
	if _, err := evaluate("format('{0}', toJSON(format('{0}', s)))", env); !errors.Is(err, errTooLarge) {
		t.Fatalf("toJSON: %v", err)
	}
}

func TestCheck(t *testing.T) {
	r := Rules{Where: "a job's `if`", Contexts: []string{"github", "needs"}, Functions: map[string]Arity{"success": {Max: -1}, "always": {}}}
	for src, want := range map[string]string{
		`secrets.X`:           "the context `secrets` does not exist in a job's `if` at column 1",
		`githb.ref`:           "unknown context `githb` at column 1; did you mean `github`?",
		`true && sucess()`:    "unknown function `sucess` at column 9; did you mean `success`?",
		`hashFiles('x')`:      "the function `hashFiles` does not exist in a job's `if`",
		`always(1)`:           "always takes 0, not 1, arguments",
		`contains('a')`:       "contains takes 2, not 1, arguments",
		`case(true, 1)`:       "case takes at least 3, not 2, arguments",
		`case(true, 1, 2, 3)`: "case takes an odd number, not 4, arguments",
		`format('{0}')`:       "format: {0} has no argument",
		`main`:                "unknown context `main`",
	} {
		e, err := Parse(src)
		if err != nil {
			t.Fatal(err)
		}
		problems := e.Check(r)
		if len(problems) != 1 || !strings.Contains(problems[0].Error()+"; "+problems[0].Hint, want) {
			t.Errorf("%s: %v, want %q", src, problems, want)
		}
	}
	e, err := Parse("github.ref == NEEDS.x.result && Success('x') && a.b(1)")
	if err == nil {
		t.Fatalf("a method call was accepted: %v", e)
	}
	if e, err = Parse("github.ref == NEEDS.x.result && Success('x')"); err != nil || len(e.Check(r)) > 0 {
		t.Fatal(err, e.Check(r))
	}
}

func TestReferences(t *testing.T) {
	e, err := Parse("github.event.*.title == steps['a'].outputs[matrix.k].z || fromJSON(x.y).q || github")
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(e.References())
	want := "[{github [event * title] 0} {steps [a outputs] 24} {matrix [k] 43} {x [y] 67} {github [] 77}]"
	if got != want {
		t.Fatalf("got  %s\nwant %s", got, want)
	}
}

func TestSplitAndJoin(t *testing.T) {
	for text, want := range map[string]string{
		"${{ a }}":         "a",
		"x ${{ a }} {y}":   "format('x {0} {{y}}', a)",
		"${{ a }}${{ b }}": "format('{0}{1}', a, b)",
		"it's ${{ '}}' }}": "format('it''s {0}', '}}')",
		"${{ a }}\n":       "format('{0}\n', a)",
	} {
		parts, err := Split(text)
		if err != nil || Join(parts) != want {
			t.Errorf("%q: %q %v, want %q", text, Join(parts), err, want)
		}
	}
	if _, err := Split("a ${{ 'x }} b"); err == nil {
		t.Error("an open string ended an expression")
	}
}

// TestJoinGivesTheTextBack: without surprises, whatever stands around expressions comes out unchanged.
func TestJoinGivesTheTextBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		piece := rapid.StringMatching(`[ a-z{}'"$\n]{0,8}`).Filter(func(s string) bool { return !HasExpression(s) && !strings.HasSuffix(s, "$") })
		before, after, value := piece.Draw(t, "before"), piece.Draw(t, "after"), piece.Draw(t, "value")
		parts, err := Split(before + "${{ v }}" + after)
		if err != nil {
			t.Fatal(err)
		}
		e, err := ParseCompiled(Join(parts))
		if err != nil {
			t.Fatal(err)
		}
		got, err := e.Eval(&Env{Contexts: NewObject(Pair{"v", String(value)})})
		if err != nil || got.Text() != before+value+after {
			t.Fatalf("got %q, %v; want %q", got.Text(), err, before+value+after)
		}
	})
}

func genValue(depth int) *rapid.Generator[Value] {
	scalars := []*rapid.Generator[Value]{
		rapid.Just(Null()), rapid.Map(rapid.Bool(), Bool), rapid.Map(rapid.String(), String),
		rapid.Map(rapid.Float64Range(-1e18, 1e18), Number),
	}
	if depth == 0 {
		return rapid.OneOf(scalars...)
	}
	array := rapid.Map(rapid.SliceOfN(rapid.Deferred(func() *rapid.Generator[Value] { return genValue(depth - 1) }), 0, 4), Array)
	object := rapid.Custom(func(t *rapid.T) Value {
		o := NewObject()
		for _, key := range rapid.SliceOfN(rapid.String(), 0, 12).Draw(t, "keys") {
			o.Set(key, genValue(depth-1).Draw(t, "value"))
		}
		return o.Value()
	})
	return rapid.OneOf(append(scalars, array, object)...)
}

func TestJSONRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := genValue(3).Draw(t, "v")
		text := ToJSON(v)
		back, err := FromJSON([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if again := ToJSON(back); again != text {
			t.Fatalf("%s became %s", text, again)
		}
		pretty, err := FromJSON([]byte(PrettyJSON(v)))
		if err != nil || pretty.Kind() != v.Kind() {
			t.Fatal(err)
		}
	})
}

func TestEqualityIsSymmetric(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := genValue(1).Draw(t, "a"), genValue(1).Draw(t, "b")
		if Equal(a, b) != Equal(b, a) {
			t.Fatal("== is not symmetric")
		}
		if less(a, b) && less(b, a) {
			t.Fatal("< holds both ways")
		}
	})
}

func TestObjectKeepsOrderAndIgnoresCase(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := NewObject()
		var keys []string
		seen := map[string]bool{}
		for _, key := range rapid.SliceOfN(rapid.StringMatching(`[a-cA-C]{1,3}`), 0, 40).Draw(t, "keys") {
			o.Set(key, String(key))
			if !seen[strings.ToUpper(key)] {
				seen[strings.ToUpper(key)] = true
				keys = append(keys, key)
			}
		}
		if o.Len() != len(keys) {
			t.Fatalf("%d properties, want %d", o.Len(), len(keys))
		}
		for i, p := range o.Pairs() {
			if p.Key != keys[i] {
				t.Fatalf("property %d is %s, want %s", i, p.Key, keys[i])
			}
			if _, ok := o.Get(strings.ToLower(p.Key)); !ok {
				t.Fatalf("%s not found in lower case", p.Key)
			}
		}
	})
}

func TestCaseSensitiveObject(t *testing.T) {
	o := NewCaseSensitiveObject(Pair{"PATH", String("a")}, Pair{"Path", String("b")})
	got, err := evaluate("format('{0}{1}{2}', env.PATH, env.Path, env.path)", &Env{Contexts: NewObject(Pair{"env", o.Value()})})
	if err != nil || got.Text() != "ab" {
		t.Fatal(got.Text(), err)
	}
}

func TestNumbersReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Float64().Draw(t, "n")
		back := ParseNumber(FormatNumber(n))
		if math.Abs(back-n) > math.Abs(n)*1e-14 && !math.IsInf(back, 0) {
			t.Fatalf("%v became %v", n, back)
		}
	})
}

// TestLongExpressionsAreLinear: a joined script of a megabyte with many expressions parses and evaluates in a moment.
func TestLongExpressionsAreLinear(t *testing.T) {
	text := strings.Repeat("line of a script ${{ v }} {x}\n", 30_000)
	begin := time.Now()
	parts, err := Split(text)
	if err != nil {
		t.Fatal(err)
	}
	e, err := ParseCompiled(Join(parts))
	if err != nil {
		t.Fatal(err)
	}
	got, err := e.Eval(&Env{Contexts: NewObject(Pair{"v", String("value")})})
	if err != nil || !strings.HasPrefix(got.Text(), "line of a script value {x}\n") {
		t.Fatal(err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Fatalf("took %v", took)
	}
}

func FuzzExpr(f *testing.F) {
	for _, seed := range []string{
		"github.event.commits.*.id", "format('{0} {{}}', toJSON(github))", "!(1 < .5) && 'it''s' || x[*]", "case(true, 0x1F, NaN)",
		"contains(fromJSON('[1]'), 1)", "-+1", "a[b[c[1]]]", "join(github.event.list.*, '')",
	} {
		f.Add(seed)
	}
	env := &Env{Contexts: testContexts(f)}
	f.Fuzz(func(t *testing.T, src string) {
		e, err := Parse(src)
		if err != nil {
			var se *SyntaxError
			if !errors.As(err, &se) || se.Offset < 0 || se.Offset > len(src) || se.Column < 1 {
				t.Fatalf("%#v", err)
			}
			return
		}
		_ = e.Check(Rules{})
		_ = e.References()
		v, err := e.Eval(env)
		if err == nil && v.IsPrimitive() && v.Kind() == KindString {
			back, err := evaluate(Quote(v.Text()), nil)
			if err == nil && back.Text() != v.Text() {
				t.Fatalf("%q quoted became %q", v.Text(), back.Text())
			}
		}
	})
}
