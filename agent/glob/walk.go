package glob

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"
)

// Tree maps absolute paths, as a container sees them, onto a directory of this host. Nothing outside it is reached.
type Tree struct {
	// Prefix is the directory's path inside the container, e.g. /github/workspace.
	Prefix string
	Root   *os.Root
}

// Rel returns the path inside Root of an absolute path; ok is false if it is not in the tree.
func (t Tree) Rel(abs string) (rel string, ok bool) {
	if !Within(abs, t.Prefix) {
		return "", false
	}
	rel = strings.TrimPrefix(strings.TrimPrefix(abs, t.Prefix), "/")
	if rel == "" {
		rel = "."
	}
	return rel, true
}

// Options of Find.
type Options struct {
	// Hidden includes files and directories whose names begin with a dot.
	Hidden bool
	// MaxFiles bounds the result; 0 means DefaultMaxFiles.
	MaxFiles int
	// OnlyInside leaves out what lies outside the trees, instead of failing with an *OutsideError.
	OnlyInside bool
}

// DefaultMaxFiles is more than any artifact should hold.
const DefaultMaxFiles = 500_000

// ErrTooMany: the patterns match more files than allowed.
var ErrTooMany = errors.New("glob: too many files")

// OutsideError says that a pattern searches where the agent can't look.
type OutsideError struct {
	Path  string
	Trees []Tree
	// Link: a link on the way leads out.
	Link bool
}

func (e *OutsideError) Error() string {
	var prefixes []string
	for _, t := range e.Trees {
		prefixes = append(prefixes, t.Prefix)
	}
	if e.Link {
		return fmt.Sprintf("%s can't be reached: a link on the way leads outside of %s", e.Path, strings.Join(prefixes, ", "))
	}
	return fmt.Sprintf("%s is not in a directory that the agent can read; files must lie beneath %s", e.Path, strings.Join(prefixes, ", "))
}

// Find returns the absolute paths of the regular files that match, each directory's in the order of names. A link to a
// file counts if it stays in its tree; links to directories are not followed.
func (s *Set) Find(trees []Tree, o Options) ([]string, error) {
	w := walker{set: s, options: o, seen: map[string]bool{}, left: o.MaxFiles}
	if w.left == 0 {
		w.left = DefaultMaxFiles
	}
	searches := s.SearchPaths()
	if o.OnlyInside {
		searches = inside(trees, searches)
	}
	for _, search := range searches {
		i := treeOf(trees, search)
		if i < 0 {
			return nil, &OutsideError{Path: search, Trees: trees}
		}
		w.tree = trees[i]
		rel, _ := w.tree.Rel(search)
		info, err := w.tree.Root.Lstat(rel)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			continue
		}
		if err != nil && o.OnlyInside {
			continue
		}
		if err != nil {
			// A link on the way leads out of the tree, or round in circles.
			return nil, &OutsideError{Path: search, Trees: trees, Link: true}
		}
		if err := w.visit(search, rel, info.Mode()); err != nil {
			return nil, err
		}
	}
	return w.found, nil
}

// inside are the parts of search paths that lie in a tree.
func inside(trees []Tree, searches []string) (parts []string) {
	for _, search := range searches {
		if treeOf(trees, search) >= 0 {
			parts = append(parts, search)
			continue
		}
		for _, t := range trees {
			if Within(t.Prefix, search) {
				parts = append(parts, t.Prefix)
			}
		}
	}
	return parts
}

func treeOf(trees []Tree, abs string) int {
	for i, t := range trees {
		if _, ok := t.Rel(abs); ok {
			return i
		}
	}
	return -1
}

type walker struct {
	set     *Set
	options Options
	tree    Tree
	seen    map[string]bool
	found   []string
	left    int
}

func (w *walker) visit(abs, rel string, mode fs.FileMode) error {
	if !w.options.Hidden && strings.HasPrefix(path.Base(abs), ".") {
		return nil
	}
	if mode.IsDir() {
		return w.dir(abs, rel)
	}
	if w.seen[abs] || !w.set.Match(abs) {
		return nil
	}
	if mode&fs.ModeSymlink != 0 {
		info, err := w.tree.Root.Stat(rel)
		if err != nil || !info.Mode().IsRegular() {
			return nil //nolint:nilerr // a broken link, or one that leaves the tree, is as if it were not there
		}
	} else if !mode.IsRegular() {
		return nil
	}
	if w.left--; w.left < 0 {
		return fmt.Errorf("%w: more than %d", ErrTooMany, len(w.found))
	}
	w.seen[abs] = true
	w.found = append(w.found, abs)
	return nil
}

func (w *walker) dir(abs, rel string) error {
	if !w.set.CouldHold(abs) {
		return nil
	}
	entries, err := fs.ReadDir(w.tree.Root.FS(), rel)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("glob: %w", err)
	}
	for _, e := range entries {
		if err := w.visit(path.Join(abs, e.Name()), path.Join(rel, e.Name()), e.Type()); err != nil {
			return err
		}
	}
	return nil
}
