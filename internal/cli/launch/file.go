// Package launch turns what a user has (a file, a working tree, a ref) into submitted runs. Everything that can be
// wrong with the input is found before anything is started.
package launch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/slipway-ci/slipway/internal/cli/exit"
	"github.com/slipway-ci/slipway/internal/worktree"
)

// MaxWorkflow is the largest workflow file in bytes.
const MaxWorkflow = 1 << 20

// Folders that hold a project's workflows, in the order in which they are read.
var Folders = []string{".slipway", ".github/workflows"}

// Workflow is a file that can be compiled.
type Workflow struct {
	// Path inside its project, with slashes.
	Path string
	// Shown is what the user calls it.
	Shown  string
	Source []byte
}

// ReadFile reads a workflow file from disk. Its errors are the user's, with what to do: exit code 2.
func ReadFile(name string) ([]byte, error) {
	info, err := os.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, exit.Invalidf("%s: there is no such file", name)
	case err != nil:
		return nil, exit.With(exit.Invalid, err)
	case info.IsDir():
		return nil, exit.Invalidf("%s is a directory: name a workflow file, or leave it out to run the project's workflows", name)
	case !info.Mode().IsRegular():
		return nil, exit.Invalidf("%s is not a regular file", name)
	case info.Size() > MaxWorkflow:
		return nil, tooLarge(name, info.Size())
	}
	src, err := os.ReadFile(name)
	if err != nil {
		return nil, exit.With(exit.Invalid, err)
	}
	return src, checkText(name, src)
}

func tooLarge(name string, size int64) error {
	return exit.Invalidf("%s is too large: %.1f MiB, a workflow file may have %d MiB", name, float64(size)/(1<<20), MaxWorkflow>>20)
}

// checkText refuses what can't be YAML before a parser's message confuses people.
func checkText(name string, src []byte) error {
	switch {
	case int64(len(src)) > MaxWorkflow:
		return tooLarge(name, int64(len(src)))
	case len(bytes.TrimSpace(src)) == 0:
		return exit.Invalidf("%s is empty: a workflow needs at least `on:` and `jobs:`", name)
	}
	if i := bytes.IndexByte(src, 0); i >= 0 && !utf16(src) {
		return exit.Invalidf("%s is a binary file, not a workflow: byte 0x00 at offset %d", name, i)
	}
	if !utf8.Valid(src) {
		return exit.Invalidf("%s is not UTF-8 text", name)
	}
	return nil
}

// utf16 recognises a byte order mark; such a file is text, but not UTF-8.
func utf16(src []byte) bool {
	return bytes.HasPrefix(src, []byte{0xff, 0xfe}) || bytes.HasPrefix(src, []byte{0xfe, 0xff})
}

// rootOf is the directory of the project that a workflow file belongs to: the one that holds its `.slipway` or
// `.github/workflows`; for a file elsewhere the top of dir's repository, or dir.
func rootOf(ctx context.Context, dir, file string) (string, error) {
	abs, err := filepath.Abs(file)
	if err != nil {
		return "", err
	}
	folder := filepath.ToSlash(filepath.Dir(abs))
	for _, f := range Folders {
		if hasFolder(folder, f) {
			return filepath.FromSlash(strings.TrimSuffix(folder, f)), nil
		}
	}
	top, err := worktree.Top(ctx, dir)
	if err != nil || top != "" {
		return top, err
	}
	return dir, nil
}

// hasFolder says whether an absolute directory, with slashes, is a project's folder f.
func hasFolder(dir, f string) bool { return strings.HasSuffix(dir, "/"+f) }

// findRoot looks for a directory with workflows from dir upwards, not beyond dir's repository.
func findRoot(ctx context.Context, dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if abs, err = filepath.EvalSymlinks(abs); err != nil {
		return "", exit.With(exit.Invalid, err)
	}
	top, err := worktree.Top(ctx, abs)
	if err != nil {
		return "", err
	}
	for d := abs; ; d = filepath.Dir(d) {
		for _, f := range Folders {
			if info, err := os.Stat(filepath.Join(d, filepath.FromSlash(f))); err == nil && info.IsDir() {
				return d, nil
			}
		}
		if d == top || d == filepath.Dir(d) {
			return "", exit.Invalidf("no workflows in %s or above: there is neither .slipway/ nor .github/workflows/; name a file, or change into a project", abs)
		}
	}
}

// workflowsOf reads all workflow files of a tree.
func workflowsOf(ctx context.Context, t *worktree.Tree) ([]Workflow, error) {
	names, err := t.List(ctx, Folders)
	if err != nil {
		return nil, exit.With(exit.Invalid, err)
	}
	var out []Workflow
	for _, n := range names {
		if !isWorkflow(n) {
			continue
		}
		src, err := t.ReadFile(ctx, n, MaxWorkflow)
		if err != nil {
			return nil, exit.With(exit.Invalid, fmt.Errorf("%s: %w", n, err))
		}
		if err := checkText(n, src); err != nil {
			return nil, err
		}
		out = append(out, Workflow{Path: n, Shown: n, Source: src})
	}
	if len(out) == 0 {
		return nil, exit.Invalidf("%s has no workflow files in .slipway/ or .github/workflows/", t.Root)
	}
	return out, nil
}

func isWorkflow(name string) bool { return path.Ext(name) == ".yml" || path.Ext(name) == ".yaml" }

// workflowFiles names the workflow files below root on disk.
func workflowFiles(root string) ([]string, error) {
	var out []string
	for _, f := range Folders {
		entries, err := os.ReadDir(filepath.Join(root, filepath.FromSlash(f)))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, exit.With(exit.Invalid, err)
		}
		for _, e := range entries {
			if !e.IsDir() && isWorkflow(e.Name()) {
				out = append(out, relative(filepath.Join(root, filepath.FromSlash(f), e.Name())))
			}
		}
	}
	if len(out) == 0 {
		return nil, exit.Invalidf("%s has no workflow files in .slipway/ or .github/workflows/", root)
	}
	return out, nil
}

// relative shortens a path below the current directory, as people would write it.
func relative(name string) string {
	wd, err := os.Getwd()
	if err != nil {
		return name
	}
	if rel, err := filepath.Rel(wd, name); err == nil && filepath.IsLocal(rel) {
		return rel
	}
	return name
}
