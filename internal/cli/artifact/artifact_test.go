package artifact

import (
	"archive/zip"
	"bytes"
	"context"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

type fakeAPI []byte

func (f fakeAPI) Download(_ context.Context, _, _ string, w io.Writer) (int64, error) {
	n, err := w.Write(f)
	return int64(n), err
}

func zipOf(t *testing.T, mode fs.FileMode, names ...string) fakeAPI {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, n := range names {
		h := &zip.FileHeader{Name: n}
		h.SetMode(mode)
		f, err := w.CreateHeader(h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(f, "../outside"); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestGet(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "out")
	n, err := Get(t.Context(), zipOf(t, 0o755, "a/b.sh", "c"), "r", "x", dir)
	if err != nil || n != 2 {
		t.Fatal(n, err)
	}
	if info, err := os.Stat(filepath.Join(dir, "a", "b.sh")); err != nil || info.Mode().Perm()&0o100 == 0 {
		t.Fatal(info, err)
	}
}

func TestHostileEntriesAreRefused(t *testing.T) {
	parent := t.TempDir()
	dir := filepath.Join(parent, "out")
	for name, api := range map[string]fakeAPI{
		"climbs": zipOf(t, 0o644, "../evil"), "absolute": zipOf(t, 0o644, "/tmp/evil"), "link": zipOf(t, fs.ModeSymlink|0o777, "evil"),
		"not a zip": fakeAPI("hello"),
	} {
		if _, err := Get(t.Context(), api, "r", "x", dir); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(parent, filepath.Join(dir, "d")); err != nil {
		t.Fatal(err)
	}
	if _, err := Get(t.Context(), zipOf(t, 0o644, "d/evil"), "r", "x", dir); err == nil {
		t.Error("wrote through a link that leads outside")
	}
	if _, err := os.Stat(filepath.Join(parent, "evil")); err == nil {
		t.Error("a file appeared outside")
	}
}
