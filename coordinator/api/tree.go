package api

import (
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"

	"github.com/slipway-ci/slipway/internal/archive"
	"github.com/slipway-ci/slipway/pipeline/syntax"
)

// workflowFolders of a source tree; a workflow that another one calls lies in one of them.
var workflowFolders = []string{".github/workflows", ".slipway"}

// headEnd is behind the paths of the folders where workflows, and most actions, lie.
const headEnd = ".slipway0"

// sourceTree reads the workflows and actions of a packed tree: its head when the first is asked for, and all of it if an action lies elsewhere. For one
// submission; not safe for concurrent use.
type sourceTree struct {
	open       func() (io.ReadCloser, error)
	most       int64
	head, full part
}

// part is what one pass over a tree has found.
type part struct {
	read  bool
	files map[string][]byte
	err   error
}

// read returns a workflow or an action of the tree; fs.ErrNotExist if it has none of that path.
func (t *sourceTree) read(name string) ([]byte, error) {
	p, last := &t.head, headEnd
	if name > headEnd {
		if !isAction(name) {
			return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
		}
		p, last = &t.full, ""
	}
	if !p.read {
		p.files, p.err = t.load(last)
		p.read = true
	}
	if p.err != nil {
		return nil, p.err
	}
	src, ok := p.files[name]
	switch {
	case !ok:
		return nil, fmt.Errorf("%s: %w", name, fs.ErrNotExist)
	case int64(len(src)) > t.most:
		return nil, fmt.Errorf("%s", tooLarge(len(src), t.most))
	}
	return src, nil
}

func isAction(name string) bool { return slices.Contains(syntax.MetadataFiles, path.Base(name)) }

func (t *sourceTree) load(last string) (map[string][]byte, error) {
	r, err := t.open()
	if err != nil {
		return nil, fmt.Errorf("open the source tree: %w", err)
	}
	defer func() { _ = r.Close() }()
	return archive.Files(r, last, func(name string) bool { return slices.Contains(workflowFolders, path.Dir(name)) || isAction(name) }, t.most)
}
