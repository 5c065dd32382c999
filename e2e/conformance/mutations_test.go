package conformance

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var mutate = flag.Bool("mutations", false, "invert rules in a copy of the code, see which cases notice, and write MUTATIONS.md")

const mutationsHead = `# Which case notices

Each line inverts a rule in a copy of the code and runs the related cases; at least one must fail. Without a mutation, the same
binary passes them all. The mutations are in mutants_test.go;
` + "`go test ./e2e/conformance -run TestMutations -mutations -timeout 60m`" + ` writes this file.

| rule | the mutation | in | cases that fail |
| --- | --- | --- | --- |
`

// TestMutations inverts each rule of the sample. It builds the code anew and starts a Slipway for each, so it asks for its flag.
func TestMutations(t *testing.T) {
	if !*mutate {
		t.Skip("-mutations is not given")
	}
	if noSystem != nil {
		t.Fatal(noSystem)
	}
	bin, err := buildMutants(t.Context(), filepath.Join(t.TempDir(), "code"))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, m := range mutations {
		all = append(all, m.cases...)
	}
	if failed, out, err := failures(t.Context(), bin, "", all); err != nil || len(failed) > 0 {
		t.Fatalf("these cases fail without a mutation: %q, %v\n%s", failed, err, out)
	}
	table := bytes.NewBufferString(mutationsHead)
	for _, m := range mutations {
		t.Run(m.rule, func(t *testing.T) {
			failed, out, err := failures(t.Context(), bin, m.rule, m.cases)
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if len(failed) == 0 {
				t.Errorf("nobody notices that %s: %s", m.what, strings.Join(m.cases, ", "))
			}
			t.Logf("%s: %s", m.what, strings.Join(failed, ", "))
			fmt.Fprintf(table, "| %s | %s | %s | %s |\n", m.rule, m.what, m.file, strings.Join(failed, ", "))
		})
	}
	if t.Failed() {
		return
	}
	if err := os.WriteFile("MUTATIONS.md", table.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestMutationsNameCases that there are.
func TestMutationsNameCases(t *testing.T) {
	cases, err := loadCases()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mutations {
		for _, name := range m.cases {
			if !slices.ContainsFunc(cases, func(c *testcase) bool { return c.name == name }) {
				t.Errorf("%s names the case %s, which is not there", m.rule, name)
			}
		}
	}
}

// copyCode copies the repository's files, with the supervisor that `make supervisor` built.
func copyCode(ctx context.Context, from, to string) error {
	list := exec.CommandContext(ctx, "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir = from
	out, err := list.Output()
	if err != nil {
		return fmt.Errorf("git ls-files: %w", err)
	}
	for name := range strings.SplitSeq(strings.TrimRight(string(out), "\x00")+"\x00agent/supervisor/embedded/bin/supervisor", "\x00") {
		data, err := os.ReadFile(filepath.Join(from, name))
		if os.IsNotExist(err) {
			continue
		}
		if err != nil {
			return err
		}
		path := filepath.Join(to, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, data, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// buildMutants builds a copy of the code with all mutations, of which $SLIPWAY_MUTANT picks one.
func buildMutants(ctx context.Context, dir string) (bin string, err error) {
	if err := copyCode(ctx, "../..", dir); err != nil {
		return "", err
	}
	for _, m := range mutations {
		if err := m.apply(dir); err != nil {
			return "", err
		}
	}
	mutant := filepath.Join(dir, "internal", "mutant", "mutant.go")
	if err := os.MkdirAll(filepath.Dir(mutant), 0o755); err != nil {
		return "", err
	}
	if err := os.WriteFile(mutant, []byte(mutantPackage), 0o644); err != nil {
		return "", err
	}
	bin = filepath.Join(dir, "bin", "mutant")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", bin, "./cmd/slipway")
	build.Dir, build.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("the mutants do not build: %w\n%s", err, out)
	}
	return bin, nil
}

var packageLine = regexp.MustCompile(`(?m)^package \w+\n`)

// apply puts the mutation into the copy of the code.
func (m mutation) apply(dir string) error {
	path := filepath.Join(dir, m.file)
	code, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	text := string(code)
	if n := strings.Count(text, m.old); n != 1 {
		return fmt.Errorf("%s: %s: what is to be changed is there %d times: adapt mutants_test.go", m.rule, m.file, n)
	}
	text = strings.Replace(text, m.old, m.new, 1)
	const imported = "import \"github.com/slipway-ci/slipway/internal/mutant\"\n"
	if !strings.Contains(text, imported) {
		at := packageLine.FindStringIndex(text)
		text = text[:at[1]] + "\n" + imported + text[at[1]:]
	}
	return os.WriteFile(path, []byte(text), 0o644)
}

var failLine = regexp.MustCompile(`(?m)^ +--- FAIL: TestCases/(\S+)`)

// failures runs cases with a mutant and returns those that fail, with all that was said.
func failures(ctx context.Context, bin, rule string, cases []string) (failed []string, said []byte, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, nil, err
	}
	var areas, names []string
	for _, name := range cases {
		area, short, _ := strings.Cut(name, "/")
		areas, names = append(areas, "^"+area+"$"), append(names, "^"+short+"$")
	}
	cmd := exec.CommandContext(ctx, self, "-test.run", "TestCases/("+strings.Join(areas, "|")+")/("+strings.Join(names, "|")+")")
	cmd.Env = append(os.Environ(), "SLIPWAY_BIN="+bin, "SLIPWAY_MUTANT="+rule)
	said, err = cmd.CombinedOutput()
	for _, f := range failLine.FindAllStringSubmatch(string(said), -1) {
		failed = append(failed, f[1])
	}
	slices.Sort(failed)
	if len(failed) > 0 {
		err = nil
	}
	return failed, said, err
}
