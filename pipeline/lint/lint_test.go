package lint

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/pipeline/diag"
	"github.com/slipway-ci/slipway/pipeline/syntax"
)

var update = flag.Bool("update", false, "write the golden files")

// run lints a file; the name decides nothing.
func run(t *testing.T, name string, src []byte) diag.List {
	t.Helper()
	f, found := syntax.Parse(name, src, syntax.Limits{})
	if found.HasErrors() {
		t.Fatalf("the case is not well formed:\n%s", found)
	}
	return Allow(f, src, Lint(f, nil, nil)).Sort()
}

// TestLints: for each code, every finding of testdata/CODE/bad.yml is in its golden file, and testdata/CODE/good.yml has
// none of that code.
func TestLints(t *testing.T) {
	for code := range Codes {
		t.Run(code, func(t *testing.T) {
			bad, err := os.ReadFile(filepath.Join("testdata", code, "bad.yml"))
			if err != nil {
				t.Fatal(err)
			}
			found := run(t, code+".yml", bad)
			if !has(found, code) {
				t.Errorf("nothing has the code:\n%s", found)
			}
			golden(t, filepath.Join("testdata", code, "bad.golden"), only(found, code).String())
			good, err := os.ReadFile(filepath.Join("testdata", code, "good.yml"))
			if err != nil {
				t.Fatal(err)
			}
			if found := only(run(t, code+".yml", good), code); len(found) > 0 {
				t.Errorf("found where all is well:\n%s", found)
			}
		})
	}
	folders, err := os.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range folders {
		if _, ok := Codes[f.Name()]; !ok && f.Name() != "fuzz" {
			t.Errorf("testdata/%s is of no lint", f.Name())
		}
	}
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != got {
		t.Errorf("%s differs; go test ./pipeline/lint -update writes it anew.\ngot:\n%s\nwant:\n%s", path, got, want)
	}
}

func has(list diag.List, code string) bool { return len(only(list, code)) > 0 }

func only(list diag.List, code string) diag.List {
	var out diag.List
	for _, d := range list {
		if d.Code == code {
			out = append(out, d)
		}
	}
	return out
}

// TestAllCodesAreExplained: the documentation names every code.
func TestAllCodesAreExplained(t *testing.T) {
	doc, err := os.ReadFile("../../docs/language.md")
	if err != nil {
		t.Fatal(err)
	}
	for code := range Codes {
		if !strings.Contains(string(doc), "`"+code+"`") {
			t.Errorf("docs/language.md does not name `%s`", code)
		}
	}
}
