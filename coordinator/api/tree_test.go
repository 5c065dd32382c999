package api

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/slipway-ci/slipway/internal/archive"
)

// TestSourceTree: workflows lie in their folders, actions anywhere, and the whole tree is read only for those that lie elsewhere.
func TestSourceTree(t *testing.T) {
	dir := t.TempDir()
	names := []string{".github/actions/a/action.yml", ".github/workflows/w.yml", ".slipway/s.yml", "action.yaml", "tools/b/action.yml", "tools/x.yml"}
	for _, name := range names {
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(name), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	var packed bytes.Buffer
	if err := archive.Pack(&packed, dir, names); err != nil {
		t.Fatal(err)
	}
	passes := 0
	tree := &sourceTree{most: 100, open: func() (io.ReadCloser, error) {
		passes++
		return io.NopCloser(bytes.NewReader(packed.Bytes())), nil
	}}
	for _, c := range []struct {
		name   string
		there  bool
		passes int
	}{
		{".github/actions/a/action.yml", true, 1}, {".github/workflows/w.yml", true, 1}, {".slipway/s.yml", true, 1}, {".slipway/none.yml", false, 1}, {"tools/x.yml", false, 1},
		{"tools/b/action.yml", true, 2}, {"action.yaml", true, 2}, {"action.yml", false, 2}, {"tools/c/action.yml", false, 2},
	} {
		got, err := tree.read(c.name)
		if c.there && string(got) != c.name || !c.there && !errors.Is(err, fs.ErrNotExist) || passes != c.passes {
			t.Errorf("%s: %q, %v, %d passes", c.name, got, err, passes)
		}
	}
	tree.most = 3
	if _, err := tree.read("action.yaml"); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("one that is too large: %v", err)
	}
}
