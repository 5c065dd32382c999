// Package worktree says what a directory of source is (commit, ref, repository, dirty or not), which of its files
// belong to it, and packs them for a run's checkout.
//
// The root of a tree is the directory that holds `.github/workflows` or `.slipway`, which may lie below the top of its
// git repository: an example inside a larger repository is a project of its own.
package worktree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/slipway-ci/slipway/internal/archive"
)

// Zeros is the sha of a tree without a commit.
const Zeros = "0000000000000000000000000000000000000000"

// fallbackRef is the ref of a tree that is on no branch because it is in no repository.
const fallbackRef = "refs/heads/main"

// ErrTooWide: a directory outside any repository is too large a place to be meant as a source tree.
var ErrTooWide = errors.New("not a source tree")

// ErrUnknownRef: the repository has no such commit.
var ErrUnknownRef = errors.New("unknown ref")

// Tree is a source tree at one moment.
type Tree struct {
	// Root is absolute.
	Root string
	// Repository as owner/name, from the remote; local/DIRECTORY without one.
	Repository string
	// SHA is the commit, or Zeros.
	SHA string
	// Ref is refs/heads/… or refs/tags/…; the commit itself when nothing names it.
	Ref string
	// Dirty: the files differ from the commit.
	Dirty bool

	// git is "" outside a repository.
	git string
	// commit is set when the tree is that commit, not the files in Root.
	commit string
}

// Open describes the files in root as they are.
func Open(ctx context.Context, root string) (*Tree, error) {
	t, err := open(ctx, root)
	if err != nil || t.git == "" {
		return t, err
	}
	return t, t.head(ctx)
}

// OpenRef describes root's tree at a commit, branch or tag. ErrUnknownRef if there is none.
func OpenRef(ctx context.Context, root, ref string) (*Tree, error) {
	t, err := open(ctx, root)
	if err != nil {
		return nil, err
	}
	if t.git == "" {
		return nil, fmt.Errorf("%w: %s is not in a git repository, so it has no %q", ErrUnknownRef, t.Root, ref)
	}
	return t, t.at(ctx, ref)
}

func open(ctx context.Context, root string) (*Tree, error) {
	abs, err := filepath.Abs(root)
	if err != nil {
		return nil, fmt.Errorf("worktree: %w", err)
	}
	if abs, err = filepath.EvalSymlinks(abs); err != nil {
		return nil, fmt.Errorf("worktree: %w", err)
	}
	t := &Tree{Root: abs, SHA: Zeros, Ref: fallbackRef, Repository: "local/" + safeName(filepath.Base(abs))}
	inside, err := insideRepository(ctx, abs)
	if err != nil || !inside {
		return t, err
	}
	t.git = "git"
	return t, t.remote(ctx)
}

// IsCommit says that the tree is a commit rather than the files on disk.
func (t *Tree) IsCommit() bool { return t.commit != "" }

// InRepository says whether git knows the tree.
func (t *Tree) InRepository() bool { return t.git != "" }

// Rel returns path relative to the tree's root with slashes, or false if it lies outside.
func (t *Tree) Rel(path string) (string, bool) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", false
	}
	if dir, err := filepath.EvalSymlinks(filepath.Dir(abs)); err == nil {
		abs = filepath.Join(dir, filepath.Base(abs))
	}
	rel, err := filepath.Rel(t.Root, abs)
	if err != nil || !filepath.IsLocal(rel) {
		return "", false
	}
	return filepath.ToSlash(rel), true
}

// ReadFile reads a file of the tree by its slash-separated path; fs.ErrNotExist if the tree has none. Of a larger file
// it returns limit+1 bytes, so that the caller can tell.
func (t *Tree) ReadFile(ctx context.Context, path string, limit int64) ([]byte, error) {
	if t.commit != "" {
		return t.show(ctx, path, limit)
	}
	f, err := os.Open(filepath.Join(t.Root, filepath.FromSlash(path)))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit+1))
}

// Files lists what belongs to the tree, as slash-separated paths relative to Root: in a repository what git tracks or
// would track, elsewhere everything but `.git`. ErrTooWide for a home directory or the file system's root.
func (t *Tree) Files(ctx context.Context) ([]string, error) {
	if t.git != "" {
		return t.listed(ctx)
	}
	if home, err := os.UserHomeDir(); t.Root == "/" || err == nil && t.Root == home {
		return nil, fmt.Errorf("%w: %s holds far more than a project; change into the project's directory", ErrTooWide, t.Root)
	}
	return walk(ctx, t.Root)
}

// Pack writes the tree as a zstd-compressed tar to w. A file that vanishes meanwhile is left out.
func (t *Tree) Pack(ctx context.Context, w io.Writer) error {
	if t.commit != "" {
		return t.packCommit(ctx, w)
	}
	files, err := t.Files(ctx)
	if err != nil {
		return err
	}
	return archive.Pack(w, t.Root, t.present(files))
}

// present drops files that git lists but that are deleted, directories (nested repositories, which a checkout leaves
// empty), and what no archive can hold (sockets, pipes).
func (t *Tree) present(files []string) []string {
	kept := files[:0]
	for _, f := range files {
		info, err := os.Lstat(filepath.Join(t.Root, filepath.FromSlash(f)))
		if err == nil && (info.Mode().IsRegular() || info.Mode()&fs.ModeSymlink != 0) {
			kept = append(kept, f)
		}
	}
	return kept
}

func walk(ctx context.Context, root string) ([]string, error) {
	var files []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if d.Name() == ".git" && path != root {
			if d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		if d.IsDir() {
			return nil
		}
		rel, err := filepath.Rel(root, path)
		files = append(files, filepath.ToSlash(rel))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("worktree: listing %s: %w", root, err)
	}
	return files, nil
}

// safeName keeps a directory's name usable as a repository's.
func safeName(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_', r == '.':
			return r
		}
		return '-'
	}, s)
	if s == "" || s == "." || s == ".." || s == "-" {
		return "tree"
	}
	return s
}

// List returns the files directly in the named folders of the tree, sorted within each folder. Ignored files count too:
// a workflow that git ignores is still one that its author can run.
func (t *Tree) List(ctx context.Context, folders []string) ([]string, error) {
	var out []string
	for _, folder := range folders {
		if t.commit != "" {
			names, err := run(ctx, t.Root, nil, "ls-tree", "--name-only", "-z", t.commit, "./"+folder+"/")
			if err != nil {
				return nil, fmt.Errorf("worktree: listing %s: %w", folder, err)
			}
			for n := range strings.SplitSeq(strings.TrimSuffix(names, "\x00"), "\x00") {
				if n != "" {
					out = append(out, n)
				}
			}
			continue
		}
		entries, err := os.ReadDir(filepath.Join(t.Root, filepath.FromSlash(folder)))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("worktree: listing %s: %w", folder, err)
		}
		for _, e := range entries {
			if !e.IsDir() {
				out = append(out, folder+"/"+e.Name())
			}
		}
	}
	return out, nil
}
