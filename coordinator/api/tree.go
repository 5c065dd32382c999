package api

import (
	"fmt"
	"io"
	"io/fs"

	"github.com/slipway-ci/slipway/internal/archive"
)

// workflowFolders of a source tree; a workflow that another one calls lies in one of them.
var workflowFolders = []string{".github/workflows", ".slipway"}

// sourceTree reads the workflows of a packed tree, once, when the first is asked for. For one submission; not safe for concurrent use.
type sourceTree struct {
	open  func() (io.ReadCloser, error)
	most  int64
	files map[string][]byte
	err   error
}

// read returns a workflow of the tree; fs.ErrNotExist if it has none of that path.
func (t *sourceTree) read(path string) ([]byte, error) {
	if t.files == nil && t.err == nil {
		t.files, t.err = t.load()
	}
	if t.err != nil {
		return nil, t.err
	}
	src, ok := t.files[path]
	switch {
	case !ok:
		return nil, fmt.Errorf("%s: %w", path, fs.ErrNotExist)
	case int64(len(src)) > t.most:
		return nil, fmt.Errorf("%s", tooLarge(len(src), t.most))
	}
	return src, nil
}

func (t *sourceTree) load() (map[string][]byte, error) {
	r, err := t.open()
	if err != nil {
		return nil, fmt.Errorf("open the source tree: %w", err)
	}
	defer func() { _ = r.Close() }()
	return archive.FilesIn(r, workflowFolders, t.most)
}
