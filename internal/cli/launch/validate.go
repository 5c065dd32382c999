package launch

import (
	"context"
	"path/filepath"

	"github.com/slipway-ci/slipway/pipeline/diag"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// Checked is what Validate found in one file.
type Checked struct {
	File string
	// Unreadable is why the file is no workflow at all; then there are no findings.
	Unreadable error
	Findings   diag.List
}

// Validation is what Validate found.
type Validation []Checked

// Valid says that every file could be started.
func (v Validation) Valid() bool {
	for _, c := range v {
		if c.Unreadable != nil || c.Findings.HasErrors() {
			return false
		}
	}
	return true
}

// Validate checks files, or without files all workflows of the project that dir is in. It looks at every one, whatever
// is wrong with the others.
func Validate(ctx context.Context, dir string, files []string, compile Compile) (Validation, error) {
	var out Validation
	if len(files) == 0 {
		root, err := findRoot(ctx, dir)
		if err != nil {
			return nil, err
		}
		if files, err = workflowFiles(root); err != nil {
			return nil, err
		}
	}
	for _, f := range files {
		c := Checked{File: f}
		src, err := ReadFile(f)
		if err != nil {
			c.Unreadable = err
		} else {
			_, c.Findings = compile(pathInProject(f), src)
			// Positions are for people who want to open the file: name it as they did.
			for i := range c.Findings {
				c.Findings[i].Path = f
			}
		}
		out = append(out, c)
	}
	return out, nil
}

// pathInProject keeps `.github/workflows/` and `.slipway/`, which decide what keys a file may use.
func pathInProject(file string) string {
	abs, err := filepath.Abs(file)
	if err != nil {
		return file
	}
	folder := filepath.ToSlash(filepath.Dir(abs))
	for _, f := range Folders {
		if hasFolder(folder, f) {
			return f + "/" + filepath.Base(abs)
		}
	}
	return filepath.Base(abs)
}

// Resolve asks the coordinator for the plans with images resolved to digests.
func (p *Prepared) Resolve(ctx context.Context, api API) ([]*planv1.Plan, error) {
	source := p.describe()
	var out []*planv1.Plan
	for _, w := range p.Workflows {
		r, err := api.Plan(ctx, p.PlanRequest(w, source))
		if err != nil {
			return nil, err
		}
		out = append(out, r.GetPlan())
	}
	return out, nil
}
