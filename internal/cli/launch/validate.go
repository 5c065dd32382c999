package launch

import (
	"context"
	"os"
	"path/filepath"
	"slices"

	"github.com/slipway-ci/slipway/internal/cli/exit"
	"github.com/slipway-ci/slipway/pipeline/diag"
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

// Valid says that every file is right, whether or not Slipway can run all of it yet.
func (v Validation) Valid() bool {
	for _, c := range v {
		if c.Unreadable != nil || c.Findings.Invalid() {
			return false
		}
	}
	return true
}

// Runnable says that every file could be started.
func (v Validation) Runnable() bool {
	for _, c := range v {
		if c.Unreadable != nil || c.Findings.HasErrors() {
			return false
		}
	}
	return true
}

// Validate checks files, and the workflows in directories; without either all workflows of the project that dir is in.
// It looks at every one, whatever is wrong with the others.
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
		if info, err := os.Stat(f); err == nil && info.IsDir() {
			inside, err := workflowsIn(f)
			if err != nil {
				out = append(out, Checked{File: f, Unreadable: err})
				continue
			}
			for _, name := range inside {
				out = append(out, validate(ctx, name, compile))
			}
			continue
		}
		out = append(out, validate(ctx, f, compile))
	}
	out.onceEach()
	return out, nil
}

// onceEach leaves the warnings of a called workflow to that file, if it is looked at itself, and those of what several files share to the first.
func (v Validation) onceEach() {
	own, said := map[string]bool{}, map[diag.Diagnostic]bool{}
	for _, c := range v {
		own[pathInProject(c.File)] = c.Unreadable == nil
	}
	for i, c := range v {
		v[i].Findings = slices.DeleteFunc(c.Findings, func(d diag.Diagnostic) bool {
			if d.Severity == diag.Error || d.Path == c.File {
				return false
			}
			again := said[d]
			said[d] = true
			return again || own[d.Path]
		})
	}
}

func validate(ctx context.Context, f string, compile Compile) Checked {
	c := Checked{File: f}
	src, err := ReadFile(f)
	if err != nil {
		c.Unreadable = err
		return c
	}
	path := pathInProject(f)
	_, c.Findings = compile(path, src, readerOf(ctx, f))
	// Positions are for people who want to open the file: name it as they did.
	for i := range c.Findings {
		if c.Findings[i].Path == path {
			c.Findings[i].Path = f
		}
	}
	return c
}

// readerOf reads the files of the project that a workflow file belongs to; nil if that can't be told.
func readerOf(ctx context.Context, file string) Reader {
	root, err := rootOf(ctx, filepath.Dir(file), file)
	if err != nil {
		return nil
	}
	return func(path string) ([]byte, error) {
		name := filepath.Join(root, filepath.FromSlash(path))
		if _, err := os.Stat(name); err != nil {
			return nil, err
		}
		return ReadFile(name)
	}
}

// workflowsIn names the workflows of a directory: a project's, or the files of any other.
func workflowsIn(dir string) ([]string, error) {
	for _, f := range Folders {
		if info, err := os.Stat(filepath.Join(dir, filepath.FromSlash(f))); err == nil && info.IsDir() {
			return workflowFiles(dir)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, exit.With(exit.Invalid, err)
	}
	var out []string
	for _, e := range entries {
		if !e.IsDir() && isWorkflow(e.Name()) {
			out = append(out, filepath.Join(dir, e.Name()))
		}
	}
	if len(out) == 0 {
		return nil, exit.Invalidf("%s has no workflow files: their names end with .yml or .yaml", dir)
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

// Resolution is what a coordinator says of one workflow.
type Resolution struct {
	// Images of the plan → reference by digest; Pools are what labels of `runs-on` mean.
	Images, Pools map[string]string
}

// Resolve asks the coordinator to compile the workflows and to resolve their images; nothing is started.
func (p *Prepared) Resolve(ctx context.Context, api API) ([]Resolution, error) {
	source := p.describe()
	for _, plan := range p.Plans {
		if len(plan.GetWorkflows()) == 0 {
			continue
		}
		// The coordinator reads the workflows that others call from the tree.
		var err error
		if source, err = p.Source(ctx, api); err != nil {
			return nil, err
		}
		break
	}
	var out []Resolution
	for _, w := range p.Workflows {
		r, err := api.Plan(ctx, p.PlanRequest(w, source))
		if err != nil {
			return nil, err
		}
		out = append(out, Resolution{Images: r.GetPlan().GetImages(), Pools: r.GetPools()})
	}
	return out, nil
}
