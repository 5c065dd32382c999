package workspace

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func layout(t *testing.T) (*Layout, Dirs, string) {
	t.Helper()
	dir := t.TempDir()
	l, err := NewLayout(filepath.Join(dir, "data"), filepath.Join(dir, "run"))
	if err != nil {
		t.Fatal(err)
	}
	d, err := l.Attempt("a1")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Make(); err != nil {
		t.Fatal(err)
	}
	return l, d, dir
}

func TestDirectoriesAreClosedAboveAndOpenInside(t *testing.T) {
	l, d, dir := layout(t)
	for path, want := range map[string]os.FileMode{
		filepath.Join(dir, "data/attempts/a1"): 0o700, filepath.Join(dir, "run/attempts/a1"): 0o700, d.Private: 0o700, d.Logs: 0o700, d.Workspace: 0o777, d.Commands: 0o777,
	} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	if others, err := l.Others(nil); err != nil || len(others) != 1 || others[0] != "a1" {
		t.Errorf("others %v, %v", others, err)
	}
	if l.DiskFree() <= 0 {
		t.Error("no free disk")
	}
	if err := errors.Join(d.Remove(), d.Remove()); err != nil {
		t.Fatal(err)
	}
	if others, err := l.Others(nil); err != nil || len(others) != 0 {
		t.Errorf("after removal: %v, %v", others, err)
	}
}

func TestIdsThatLeaveTheDirectoryAreRefused(t *testing.T) {
	l, _, _ := layout(t)
	for _, id := range []string{"", ".", "..", "../x", "a/b", ".hidden"} {
		if _, err := l.Attempt(id); err == nil {
			t.Errorf("%q was accepted", id)
		}
	}
}

func TestFilesOfStepsAreReadSafely(t *testing.T) {
	_, d, dir := layout(t)
	root, err := os.OpenRoot(d.Commands)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	secret := filepath.Join(dir, "secret")
	for path, content := range map[string]string{secret: "s", filepath.Join(d.Commands, "ok"): "fine", filepath.Join(d.Commands, "big"): "0123456789"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Symlink(secret, filepath.Join(d.Commands, "leak")), unix.Mkfifo(filepath.Join(d.Commands, "pipe"), 0o600), os.Mkdir(filepath.Join(d.Commands, "dir"), 0o700)); err != nil {
		t.Fatal(err)
	}
	if data, err := ReadLimited(root, "ok", 9); err != nil || string(data) != "fine" {
		t.Errorf("ok: %q, %v", data, err)
	}
	if data, err := ReadLimited(root, "gone", 9); err != nil || data != nil {
		t.Errorf("gone: %q, %v", data, err)
	}
	for _, name := range []string{"leak", "pipe", "dir", "big", "../run"} {
		if data, err := ReadLimited(root, name, 9); err == nil {
			t.Errorf("%s was read: %q", name, data)
		}
	}
}

func TestPrivateValuesComeBack(t *testing.T) {
	_, d, _ := layout(t)
	if err := d.WritePrivate("x.json", map[string]int{"a": 1}); err != nil {
		t.Fatal(err)
	}
	var got map[string]int
	if err := d.ReadPrivate("x.json", &got); err != nil || got["a"] != 1 {
		t.Errorf("%v, %v", got, err)
	}
	if err := d.ReadPrivate("gone.json", &got); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("gone: %v", err)
	}
}
