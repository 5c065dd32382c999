package shell

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"
)

// describe is one line a command: name|args -> where its output goes.
func describe(s *Script) string {
	var b strings.Builder
	for i := range s.Commands {
		c := &s.Commands[i]
		for _, a := range c.Assign {
			fmt.Fprintf(&b, "%s ", a.Text)
		}
		for j, w := range c.Words {
			if j > 0 {
				b.WriteByte(' ')
			}
			fmt.Fprintf(&b, "[%s]", strings.ReplaceAll(w.Text, "\x01", ""))
		}
		for _, r := range c.Redirects {
			fmt.Fprintf(&b, " %s%s", r.Op, r.Target.Text)
		}
		for _, h := range c.Here {
			fmt.Fprintf(&b, " <<%q", h.Text)
		}
		if c.Into >= 0 {
			fmt.Fprintf(&b, " | %s", s.Commands[c.Into].Name())
		}
		if c.Captured {
			b.WriteString(" captured")
		}
		if c.Negligible {
			b.WriteString(" negligible")
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func TestRead(t *testing.T) {
	for name, c := range map[string]struct{ src, want string }{
		"words and quotes":    {`echo a 'b c' "d \"e" f\ g`, "[echo] [a] [b c] [d \"e] [f g]\n"},
		"separators":          {"a; b && c || d & e\nf", "[a]\n[b]\n[c]\n[d]\n[e]\n[f]\n"},
		"comment":             {"a # b; c\n# d\ne#f", "[a]\n[e#f]\n"},
		"continued line":      {"a \\\n  b\\\nc", "[a] [bc]\n"},
		"assignment":          {"A=1 B='x y' cmd C=2\nD=3", "A=1 B=x y [cmd] [C=2]\nD=3 \n"},
		"array":               {"A=(x y\n z) \nb", "A= \n[b]\n"},
		"redirections":        {"a > f 2>&1 >>\"$G\" <in", "[a] >f >&1 >>$G <in\n"},
		"both":                {"a &> f\nb", "[a] &>f\n[b]\n"},
		"pipe":                {"a | b |\n c", "[a] | b\n[b] | c\n[c]\n"},
		"group redirected":    {"{ a; b 'x'; } >> out\nc", "[a] >>out\n[b] [x] >>out\n[c]\n"},
		"group piped":         {"(a; b) | c", "[a] | c\n[b] | c\n[c]\n"},
		"if":                  {"if a; then b; else c; fi > f", "[a] >f\n[b] >f\n[c] >f\n"},
		"loop":                {"for x in 1 2; do a $x; done | b\nwhile read l; do c; done < f", "[a] [$x] | b\n[b]\n[read] [l] <f\n[c] <f\n"},
		"piped into loop":     {"a | while read x; do echo $x; done", "[a] | read\n[read] [x]\n[echo] [$x]\n"},
		"case":                {"case $x in\n  aws|b) c ;;\n  *) d;;\nesac\ne", "[c]\n[d]\n[e]\n"},
		"substitution":        {`x=$(a "$(b)" | c); echo "v $(d)"`, "[b] captured\n[a] [$()] | c captured\n[c] captured\nx=$() \n[d] captured\n[echo] [v $()]\n"},
		"backquotes":          {"echo `date +%s` x", "[date] [+%s] captured\n[echo] [`] [x]\n"},
		"backquotes quoted":   {"echo \"a `b` c\"; d", "[b] captured\n[echo] [a ` c]\n[d]\n"},
		"process":             {"diff <(a) <(b)", "[a] captured\n[b] captured\n[diff] [] []\n"},
		"arithmetic":          {"echo $((1 + (2))) x", "[echo] [$(())] [x]\n"},
		"here-document":       {"cat <<EOF > f\na $B\nEOF\nc", "[cat] >f <<\"a $B\\n\"\n[c]\n"},
		"here-document tabs":  {"cat <<-'E'\n\ta\n\tE\nc", "[cat] <<\"\\ta\\n\"\n[c]\n"},
		"here-document open":  {"cat <<EOF\na", "[cat] <<\"a\"\n"},
		"function":            {"f() { a; }\nfunction g { b; }\nf", "[a]\n[b]\n[f]\n"},
		"negligible":          {"a || true\nb || exit 1\nc ||\n  :\nd || echo x", "[a] negligible\n[true]\n[b]\n[exit] [1]\n[c] negligible\n[:]\n[d] negligible\n[echo] [x]\n"},
		"expression":          {"a ${{ x && 'it''s }}' }}b \"${{ y }} z\"", "[a] [b] [ z]\n"},
		"braces":              {`a "${B:-x y}" ${C}`, "[a] [${B:-x y}] [${C}]\n"},
		"carriage returns":    {"a\r\nb\r\n", "[a]\n[b]\n"},
		"subshell in capture": {"x=$( (a; b) ); c", "[a] captured\n[b] captured\nx=$() \n[c]\n"},
		"test":                {"if [[ $a == b ]]; then c; fi", "[[[] [$a] [==] [b] []]]\n[c]\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := describe(Read(c.src)); got != c.want {
				t.Errorf("%q\ngot:\n%swant:\n%s", c.src, got, c.want)
			}
		})
	}
}

func TestVariables(t *testing.T) {
	s := Read("echo \"$A ${B:-$C}\" '$D' \\$E ${{ env.F }} $1\ncat <<X\n$G \\$H\nX\ncat <<'Y'\n$I\nY")
	var got []string
	for i := range s.Commands {
		for _, w := range append(s.Commands[i].Words, s.Commands[i].Here...) {
			got = append(got, w.Vars...)
		}
	}
	if want := "A B C G"; strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

func TestPlaces(t *testing.T) {
	src := "a 'ü' \"${{ x }}\" b"
	c := Read(src).Commands[0]
	for i, want := range []string{"a", "'ü'", `"${{ x }}"`, "b"} {
		if got := src[c.Words[i].Start:c.Words[i].End]; got != want {
			t.Errorf("word %d: got %q, want %q", i, got, want)
		}
	}
}

// TestHostile: what is nested too deeply ends the reading, and a megabyte of anything is read in time.
func TestHostile(t *testing.T) {
	if s := Read(strings.Repeat("$(", 100) + "a"); !s.Partial {
		t.Error("100 substitutions in each other were read")
	}
	if s := Read(strings.Repeat("( ", 100) + "a"); !s.Partial {
		t.Error("100 groups in each other were read")
	}
	for _, piece := range []string{"(", ")", "{ ", "} ", "$(", "`", "\"", "'", "${", "$((", "<<A\n", "a|", "a||", "a || echo ", "if ", "fi ", "case x in ", ";;", "\\", "#", "\n", "${{", "<(", "a=(", "f() ", "{ a | ", "x", "&>"} {
		begin := cpu(t)
		Read(strings.Repeat(piece, 1<<20/len(piece)))
		if took := cpu(t) - begin; took > 5*time.Second {
			t.Errorf("%q repeated took %v", piece, took)
		}
	}
}

func FuzzRead(f *testing.F) {
	for _, seed := range []string{"a | b", "x=$(a `b`) <<E\nE", "if a; then { b; } > c; fi", "case x in a) b;; esac", "${{ a }}", "f() { a; }", "<(a) &> b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, src string) {
		s := Read(src)
		for i, c := range s.Commands {
			if c.Start < 0 || c.Start > len(src) || c.Into >= len(s.Commands) || c.Into >= 0 && c.Into <= i && c.Into == i {
				t.Fatalf("command %d: %+v", i, c)
			}
			for _, w := range append(append(c.Words, c.Here...), c.Assign...) {
				if w.Start < 0 || w.End < w.Start || w.End > len(src) {
					t.Fatalf("word %+v of %d bytes", w, len(src))
				}
			}
		}
	})
}

// cpu is the processor time that this process has had: other work on the machine does not count.
func cpu(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
