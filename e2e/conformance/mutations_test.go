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

Each line inverts a rule in a copy of the code, builds it, and runs the related cases; at least one must fail. The table of
mutations is in mutants_test.go; ` + "`go test ./e2e/conformance -run TestMutations -mutations -timeout 60m`" + ` writes this file.

| rule | the mutation | in | cases that fail |
| --- | --- | --- | --- |
`

// TestMutations inverts each rule of the sample. It takes half a minute for each, so it asks for its flag.
func TestMutations(t *testing.T) {
	if !*mutate {
		t.Skip("-mutations is not given")
	}
	if noSystem != nil {
		t.Fatal(noSystem)
	}
	dir := filepath.Join(t.TempDir(), "code")
	if err := copyCode(t.Context(), "../..", dir); err != nil {
		t.Fatal(err)
	}
	table := bytes.NewBufferString(mutationsHead)
	for _, m := range mutations {
		t.Run(m.rule, func(t *testing.T) {
			failed, err := m.run(t.Context(), dir)
			if err != nil {
				t.Fatal(err)
			}
			if len(failed) == 0 {
				t.Errorf("%s: nobody notices that %s: %s", m.rule, m.what, strings.Join(m.cases, ", "))
			}
			t.Logf("%s: %s: %s", m.rule, m.what, strings.Join(failed, ", "))
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

// run returns the cases that fail when the mutation is in the code. The code is then as before.
func (m mutation) run(ctx context.Context, dir string) (failed []string, err error) {
	path := filepath.Join(dir, m.file)
	code, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if n := strings.Count(string(code), m.old); n != 1 {
		return nil, fmt.Errorf("%s: what is to be changed is there %d times: adapt mutants_test.go", m.file, n)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(code), m.old, m.new, 1)), 0o644); err != nil {
		return nil, err
	}
	defer func() {
		if back := os.WriteFile(path, code, 0o644); err == nil {
			err = back
		}
	}()
	bin := filepath.Join(dir, "bin", "mutant")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", bin, "./cmd/slipway")
	build.Dir, build.Env = dir, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("the mutant does not build: %w\n%s", err, out)
	}
	return failures(ctx, bin, m.cases)
}

var failLine = regexp.MustCompile(`(?m)^ +--- FAIL: TestCases/(\S+)`)

// failures runs cases with another binary and returns those that fail.
func failures(ctx context.Context, bin string, cases []string) ([]string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	var failed []string
	for _, name := range cases {
		area, short, _ := strings.Cut(name, "/")
		cmd := exec.CommandContext(ctx, self, "-test.run", "TestCases/^"+area+"$/^"+short+"$")
		cmd.Env = append(os.Environ(), "SLIPWAY_BIN="+bin)
		out, err := cmd.CombinedOutput()
		found := failLine.FindAllStringSubmatch(string(out), -1)
		if err != nil && len(found) == 0 {
			return nil, fmt.Errorf("%s: %w\n%s", name, err, out)
		}
		for _, f := range found {
			failed = append(failed, f[1])
		}
	}
	return failed, nil
}
