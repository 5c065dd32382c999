package compile

import (
	"fmt"
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/pipeline/diag"
)

const on = "on: push\n"

// repeat makes n pieces, each with its number in place of every N.
func repeat(n int, piece string) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.ReplaceAll(piece, "N", fmt.Sprint(i)))
	}
	return b.String()
}

func steps(n int) string {
	return on + "jobs:\n  a:\n    runs-on: x\n    steps:\n" + repeat(n, "      - id: sN\n        run: echo ${{ github.sha }} ${{ steps.sN.outputs.x }}\n")
}

// jobs makes n jobs, each of which needs the five before it.
func jobs(n int) string {
	var b strings.Builder
	b.WriteString(on + "jobs:\n")
	for i := range n {
		fmt.Fprintf(&b, "  j%d:\n    runs-on: x\n    steps: [{run: a}]\n", i)
		for k := max(0, i-5); k < i; k++ {
			if k == max(0, i-5) {
				b.WriteString("    needs:\n")
			}
			fmt.Fprintf(&b, "      - j%d\n", k)
		}
	}
	return b.String()
}

func axis(n int) string {
	return on + "jobs:\n  a:\n    runs-on: x\n    strategy:\n      matrix:\n        v: [" + repeat(n, "N,") + "]\n    steps: [{run: a}]\n"
}

// oneLine has everything on a line, so that a column is as far away as the file is long.
func oneLine(n int) string {
	return on + "jobs: {a: {runs-on: x, steps: [" + repeat(n, "{run: '${{ q }}${{ matrix.x }}'},") + "]}}\n"
}

// manyExpressions are all in one scalar.
func manyExpressions(n int) string {
	return on + "jobs:\n  a:\n    runs-on: x\n    steps:\n      - run: |\n" + repeat(n, "          ${{ github.nope }} ${{ q }}\n")
}

// TestWorkIsLinear counts allocations, which a clock's noise does not touch: four times the input takes at most four and a
// half times as many.
func TestWorkIsLinear(t *testing.T) {
	for name, c := range map[string]struct {
		make func(int) string
		n    int
	}{
		"steps": {steps, 1000}, "jobs": {jobs, 250}, "matrix": {axis, 64},
		"one line": {oneLine, 500}, "many expressions": {manyExpressions, 1000},
	} {
		t.Run(name, func(t *testing.T) {
			allocs := func(n int) float64 {
				src := []byte(c.make(n))
				return testing.AllocsPerRun(1, func() { Compile("x.yml", src, Options{}) })
			}
			small, large := allocs(c.n), allocs(4*c.n)
			if large > 4.5*small {
				t.Errorf("%d took %.0f allocations, four times as many %.0f: %.1f times as many", c.n, small, large, large/small)
			}
		})
	}
}

// TestLargeWorkflowsCompile are the sizes that are promised.
func TestLargeWorkflowsCompile(t *testing.T) {
	for name, src := range map[string]string{"10,000 steps": steps(10_000), "256 legs": axis(256), "1,000 jobs": jobs(1000)} {
		plan, found := Compile("x.yml", []byte(src), Options{})
		if plan == nil {
			t.Errorf("%s: %v", name, found)
		}
	}
}

// TestHostileFilesAreRefused: files of nearly a MiB that make much of little. None may take long (a search that is not
// linear in the file takes minutes here), and none may answer with more than a person could read.
func TestHostileFilesAreRefused(t *testing.T) {
	job := func(rest string) string { return on + "jobs: {a: {runs-on: x, steps: [{run: a}]" + rest + "}}\n" }
	script := func(s string) string { return on + "jobs:\n  a:\n    runs-on: x\n    steps:\n      - run: " + s + "\n" }
	for name, c := range map[string]struct{ src, code string }{
		"bad expressions on one line":  {oneLine(25_000), "too-many-findings"},
		"bad expressions in one text":  {manyExpressions(20_000), "too-many-findings"},
		"warnings only":                {script("\"" + strings.Repeat("${{ github.x }}", 60_000) + "\""), "too-many-findings"},
		"many references in a text":    {script("echo " + strings.Repeat("${{ "+strings.Repeat("steps.a.b || ", 1500)+"1 }}", 40)), "too-many-findings"},
		"ids nearly right":             {on + "jobs:\n  a:\n    runs-on: x\n    steps:\n" + repeat(10_000, "      - id: aaaaaaaaN\n        run: ${{ steps.aaaaaaabN.x }}\n"), "too-many-findings"},
		"axes nearly right":            {on + "jobs:\n  a:\n    strategy: {matrix: {" + repeat(15_000, "axxxxxN: [1],") + "}}\n    runs-on: x\n    steps:\n" + repeat(14_000, "      - run: ${{ matrix.bxxxxxN }}\n"), "too-many-findings"},
		"inputs nearly right":          {"on: {workflow_dispatch: {inputs: {" + repeat(25_000, "aaaaaN: ,") + "}}}\njobs:\n  a:\n    runs-on: x\n    steps:\n" + repeat(14_000, "      - run: ${{ inputs.aaaabN }}\n"), "too-many-findings"},
		"needs nearly right":           {on + "jobs:\n" + repeat(10_000, "  jjjjjjN: {runs-on: x, needs: [kkkkkkN], steps: [{run: a}]}\n"), "too-many-findings"},
		"needs that are nobody":        {on + "jobs:\n" + repeat(10_000, "  jN: {runs-on: x, needs: [jN1], steps: [{run: a}]}\n"), "unknown-need"},
		"jobs that need themselves":    {on + "jobs:\n" + repeat(10_000, "  jN: {runs-on: x, needs: [jN], steps: [{run: a}]}\n"), "needs-cycle"},
		"brackets":                     {on + "x: " + strings.Repeat("[", 900_000), "not-yaml"},
		"aliases of aliases":           {on + "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + repeat(12, "bN: &bN [*a0,*a0,*a0,*a0,*a0,*a0,*a0,*a0,*a0]\n") + repeat(300, "cN: [*b1,*b1,*b1]\n"), "alias-expansion"},
		"an alias of itself":           {on + "a: &a [*a]\n", "alias-cycle"},
		"an expression of brackets":    {script("${{ " + strings.Repeat("(", 10_000) + "1" + strings.Repeat(")", 10_000) + " }}"), "bad-expression"},
		"an expression of negations":   {script("${{ " + strings.Repeat("!", 20_000) + "1 }}"), "bad-expression"},
		"an expression of properties":  {script("${{ a" + strings.Repeat(".b", 10_000) + " }}"), "bad-expression"},
		"an expression of indices":     {script("${{ github" + strings.Repeat("[0", 4000) + strings.Repeat("]", 4000) + " }}"), "bad-expression"},
		"an expression of a megabyte":  {script("${{ '" + strings.Repeat("x", 900_000) + "' }}"), "bad-expression"},
		"arguments":                    {script("${{ format('a'" + strings.Repeat(",1", 5000) + ") }}"), "bad-expression"},
		"a matrix of a million":        {job(", strategy: {matrix: {" + repeat(6, "aN: [1,2,3,4,5,6,7,8,9,10],") + "}}"), "bad-matrix"},
		"a matrix of wide legs":        {job(", strategy: {matrix: {include: [" + repeat(300, "{aN: "+strings.Repeat("y", 2000)+"},") + "]}}"), "bad-matrix"},
		"unknown keys":                 {on + repeat(60_000, "kN: 1\n"), "too-many-findings"},
		"a scalar of escapes":          {script("\"" + strings.Repeat(`\x20`, 200_000) + "${{ q }}\""), "bad-expression"},
		"a file of more than a MiB":    {script(strings.Repeat("x", 1<<20)), "file-too-large"},
		"a document after the other":   {strings.Repeat("a: 1\n---\n", 10_000), "several-documents"},
		"the same key over and over":   {strings.Repeat("on: push\n", 100_000), "too-many-findings"},
		"an env that refers to itself": {job(", env: {" + repeat(25_000, "aN: '${{ env.bN }}',") + "}"), "too-many-findings"},
	} {
		t.Run(name, func(t *testing.T) {
			if name != "a file of more than a MiB" && len(c.src) > 1<<20 {
				t.Fatalf("the file has %d bytes: it tests only that it is too large", len(c.src))
			}
			_, found := Compile("x.yml", []byte(c.src), Options{})
			if !strings.Contains(found.String(), "("+c.code+")") {
				t.Errorf("%d findings, and none is %s: %.300s", len(found), c.code, found)
			}
			if len(found) > 2500 {
				t.Errorf("%d findings", len(found))
			}
		})
	}
}

// TestWarningsNeverHideAnError: however many warnings there are, an error that comes after them counts.
func TestWarningsNeverHideAnError(t *testing.T) {
	src := on + "jobs:\n  a:\n    runs-on: x\n    steps:\n" + repeat(2000, "      - run: ${{ github.nope }}\n") + "      - run: ${{ q }}\n"
	plan, found := Compile("x.yml", []byte(src), Options{})
	if plan != nil || !found.HasErrors() {
		t.Error("the error after 2,000 warnings was lost")
	}
	warnings := 0
	for _, d := range found {
		if d.Severity == diag.Warning && d.Code == "unknown-reference" {
			warnings++
		}
	}
	if warnings != 500 {
		t.Errorf("%d warnings are shown, want 500", warnings)
	}
}
