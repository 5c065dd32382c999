package compile

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/slipway-ci/slipway/pipeline/syntax"
)

var update = flag.Bool("update", false, "write the golden files")

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
		t.Errorf("%s differs; go test ./pipeline/compile -update writes it anew.\ngot:\n%s\nwant:\n%s", path, got, want)
	}
}

// TestErrors: every file of testdata/errors is refused, with the findings that its golden file lists.
func TestErrors(t *testing.T) {
	var files []string
	err := filepath.WalkDir("testdata/errors", func(path string, d os.DirEntry, err error) error {
		if strings.HasSuffix(path, ".yml") {
			files = append(files, path)
		}
		return err
	})
	if err != nil || len(files) < 20 {
		t.Fatal(len(files), err)
	}
	for _, path := range files {
		name, err := filepath.Rel("testdata/errors", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(name, func(t *testing.T) {
			src, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			plan, found := Compile(name, src, Options{})
			if plan != nil || !found.HasErrors() {
				t.Errorf("it was accepted")
			}
			golden(t, strings.TrimSuffix(path, ".yml")+".golden", found.String())
		})
	}
}

// TestPlans: every file of testdata/plans compiles to the plan in its golden file.
func TestPlans(t *testing.T) {
	files, err := filepath.Glob("testdata/plans/*.yml")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	for _, path := range files {
		t.Run(filepath.Base(path), func(t *testing.T) {
			src, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			plan, found := Compile(filepath.Base(path), src, Options{})
			if plan == nil {
				t.Fatal(found)
			}
			raw, err := protojson.Marshal(plan)
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			out.WriteString(found.String())
			// protojson varies its spacing on purpose.
			if err := json.Indent(&out, raw, "", " "); err != nil {
				t.Fatal(err)
			}
			golden(t, strings.TrimSuffix(path, ".yml")+".golden", out.String()+"\n")
		})
	}
}

func TestTooLarge(t *testing.T) {
	_, found := Compile("x.yml", bytes.Repeat([]byte("# x\n"), 5<<18), Options{})
	if got := found.String(); !strings.Contains(got, "the file has 5 MiB, and 1 MiB are allowed") || len(found) != 1 {
		t.Fatal(got)
	}
	src := []byte("on: push\njobs: {a: {runs-on: x, steps: [{run: a}]}}\n" + strings.Repeat("#", 1<<20))
	if _, found := Compile("x.yml", src[:1<<20], Options{}); found.HasErrors() {
		t.Fatal("a file of exactly the limit was refused: ", found)
	}
	if _, found := Compile("x.yml", src[:100], Options{Limits: syntax.Limits{Size: 99}}); !found.HasErrors() {
		t.Fatal("a limit of one's own was not held")
	}
}

func TestFindingsAreBounded(t *testing.T) {
	src := "on: push\njobs: {a: {runs-on: x, steps: [{run: a}]}}\n"
	var b strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&b, "k%d: 1\n", i)
	}
	_, found := Compile("x.yml", []byte(src+b.String()), Options{})
	if len(found) < 400 || len(found) > 600 || !strings.Contains(found.String(), "too-many-findings") {
		t.Fatal(len(found))
	}
}

func FuzzCompile(f *testing.F) {
	for _, pattern := range []string{"testdata/errors/*.yml", "testdata/plans/*.yml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			f.Fatal(err)
		}
		for _, path := range files {
			src, err := os.ReadFile(path)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(src)
		}
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		plan, found := Compile("x.yml", src, Options{})
		if (plan == nil) != found.HasErrors() {
			t.Fatalf("plan %v with %s", plan != nil, found)
		}
		lines := bytes.Count(src, []byte("\n")) + bytes.Count(src, []byte("\r")) + bytes.Count(src, []byte("\u2028")) +
			bytes.Count(src, []byte("\u2029")) + bytes.Count(src, []byte("\u0085")) + 2
		for _, d := range found {
			if d.Line < 0 || d.Column < 0 || d.Line > lines || d.Message == "" || d.Code == "" {
				t.Fatalf("%+v", d)
			}
		}
	})
}
