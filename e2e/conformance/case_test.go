package conformance

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
	"golang.org/x/tools/txtar"
)

// testcase is one file of cases/.
type testcase struct {
	// name is the file's path below cases/, without its extension.
	name string
	// rules are ids of RULES.md; docs are pages of GitHub's documentation by title.
	rules, docs []string
	// pending says why the case can't pass yet; "" for most.
	pending string
	// files of the project, the first one is the workflow that is run.
	files []txtar.File
	want  want
}

const (
	casesDir  = "cases"
	caseExt   = ".txtar"
	wantFile  = "want"
	eventFile = "event.json"
)

// loadCases reads all cases, sorted by name. Each broken one is in the error.
func loadCases() ([]*testcase, error) {
	var all []*testcase
	var errs []error
	err := filepath.WalkDir(casesDir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if !strings.HasSuffix(path, caseExt) {
			errs = append(errs, fmt.Errorf("%s: a case is named NAME%s", path, caseExt))
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		c, err := parseCase(text)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", path, err))
			return nil
		}
		c.name = strings.TrimSuffix(filepath.ToSlash(strings.TrimPrefix(path, casesDir+string(filepath.Separator))), caseExt)
		all = append(all, c)
		return nil
	})
	return all, errors.Join(append(errs, err)...)
}

var header = regexp.MustCompile(`^(rule|docs|pending): *(.+)$`)

// parseCase reads one case: a header, the files of the project, and what is wanted.
func parseCase(text []byte) (*testcase, error) {
	archive := txtar.Parse(text)
	c := &testcase{}
	for line := range strings.Lines(string(archive.Comment)) {
		m := header.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			continue
		}
		switch m[1] {
		case "rule":
			c.rules = append(c.rules, strings.FieldsFunc(m[2], func(r rune) bool { return r == ',' || r == ' ' })...)
		case "docs":
			c.docs = append(c.docs, m[2])
		case "pending":
			c.pending = m[2]
		}
	}
	if len(c.rules)+len(c.docs) == 0 {
		return nil, errors.New("the header names neither a `rule:` nor a page of `docs:`")
	}
	hasWant := false
	for _, f := range archive.Files {
		if f.Name != wantFile {
			c.files = append(c.files, f)
			continue
		}
		hasWant = true
		decoder := yaml.NewDecoder(bytes.NewReader(f.Data))
		decoder.KnownFields(true)
		if err := decoder.Decode(&c.want); err != nil {
			return nil, fmt.Errorf("want: %w", err)
		}
	}
	if !hasWant || len(c.files) == 0 {
		return nil, errors.New("a workflow file and `-- want --` are needed")
	}
	return c, c.want.check()
}

// workflow is the path of the file that is run.
func (c *testcase) workflow() string { return c.files[0].Name }

// has reports whether the project has a file.
func (c *testcase) has(name string) bool {
	return slices.ContainsFunc(c.files, func(f txtar.File) bool { return f.Name == name })
}

// layOut writes the case's files into a directory.
func (c *testcase) layOut(dir string) error {
	for _, f := range c.files {
		path := filepath.Join(dir, filepath.FromSlash(f.Name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, f.Data, 0o644); err != nil {
			return err
		}
	}
	return nil
}
