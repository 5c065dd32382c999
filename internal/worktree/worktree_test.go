package worktree

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"archive/tar"

	"github.com/klauspost/compress/zstd"
)

func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
		"GIT_AUTHOR_NAME=t", "GIT_AUTHOR_EMAIL=t@localhost", "GIT_COMMITTER_NAME=t", "GIT_COMMITTER_EMAIL=t@localhost")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return string(bytes.TrimSpace(out))
}

func write(t *testing.T, root, path, content string) {
	t.Helper()
	full := filepath.Join(root, path)
	if err := os.MkdirAll(filepath.Dir(full), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(full, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// repository has a committed a.txt and app/b.txt, an ignored out/, and is on branch main.
func repository(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	git(t, dir, "init", "-q", "-b", "main")
	write(t, dir, "a.txt", "a")
	write(t, dir, "app/b.txt", "b")
	write(t, dir, ".gitignore", "out/\n*.log\n")
	git(t, dir, "add", "-A")
	git(t, dir, "commit", "-qm", "one")
	return dir
}

func packed(t *testing.T, tree *Tree) map[string]string {
	t.Helper()
	var buf bytes.Buffer
	if err := tree.Pack(t.Context(), &buf); err != nil {
		t.Fatal(err)
	}
	zr, err := zstd.NewReader(&buf)
	if err != nil {
		t.Fatal(err)
	}
	defer zr.Close()
	out := map[string]string{}
	for tr := tar.NewReader(zr); ; {
		h, err := tr.Next()
		if err != nil {
			break
		}
		var b bytes.Buffer
		if _, err := b.ReadFrom(tr); err != nil {
			t.Fatal(err)
		}
		out[h.Name] = b.String() + h.Linkname
	}
	return out
}

func TestDirtyTreeIsPackedWithoutIgnoredFiles(t *testing.T) {
	dir := repository(t)
	git(t, dir, "remote", "add", "origin", "git@example.com:team/project.git")
	tree, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if tree.Dirty || tree.Ref != "refs/heads/main" || tree.SHA != git(t, dir, "rev-parse", "HEAD") || tree.Repository != "team/project" {
		t.Fatalf("clean tree: %+v", tree)
	}
	write(t, dir, "new file\n.txt", "n")
	write(t, dir, "out/x", "x")
	write(t, dir, "app/debug.log", "x")
	if err := os.Remove(filepath.Join(dir, "a.txt")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("b.txt", filepath.Join(dir, "app", "link")); err != nil {
		t.Fatal(err)
	}
	if tree, err = Open(t.Context(), dir); err != nil || !tree.Dirty {
		t.Fatalf("changed tree: %+v, %v", tree, err)
	}
	got := packed(t, tree)
	want := map[string]string{".gitignore": "out/\n*.log\n", "app/b.txt": "b", "app/link": "b.txt", "new file\n.txt": "n"}
	if len(got) != len(want) {
		t.Fatalf("packed %q, want %q", got, want)
	}
	for k, v := range want {
		if got[k] != v {
			t.Errorf("%q is %q, want %q", k, got[k], v)
		}
	}
}

func TestSubdirectoryIsItsOwnTree(t *testing.T) {
	dir := repository(t)
	app := filepath.Join(dir, "app")
	write(t, dir, "a.txt", "changed outside of app")
	tree, err := Open(t.Context(), app)
	if err != nil || tree.Dirty {
		t.Fatalf("%+v, %v", tree, err)
	}
	if got := packed(t, tree); len(got) != 1 || got["b.txt"] != "b" {
		t.Fatalf("packed %q", got)
	}
	if tree, err = OpenRef(t.Context(), app, "main"); err != nil {
		t.Fatal(err)
	}
	if got := packed(t, tree); len(got) != 1 || got["b.txt"] != "b" {
		t.Fatalf("packed at main: %q", got)
	}
}

func TestRefTakesACommit(t *testing.T) {
	dir := repository(t)
	first := git(t, dir, "rev-parse", "HEAD")
	git(t, dir, "tag", "v1")
	write(t, dir, "a.txt", "second")
	git(t, dir, "commit", "-qam", "two")
	write(t, dir, "a.txt", "third, not committed")

	tests := map[string]struct{ ref, a string }{
		"v1":        {"refs/tags/v1", "a"},
		first[:10]:  {"refs/tags/v1", "a"},
		"main":      {"refs/heads/main", "second"},
		"HEAD":      {"refs/heads/main", "second"},
		"main~1":    {"refs/tags/v1", "a"},
		"HEAD~0^{}": {"refs/heads/main", "second"},
	}
	for name, want := range tests {
		tree, err := OpenRef(t.Context(), dir, name)
		if err != nil {
			t.Fatal(err)
		}
		if tree.Dirty || tree.Ref != want.ref {
			t.Errorf("%s: %+v, want ref %s", name, tree, want.ref)
		}
		if got := packed(t, tree)["a.txt"]; got != want.a {
			t.Errorf("%s: a.txt is %q, want %q", name, got, want.a)
		}
		if got, err := tree.ReadFile(t.Context(), "a.txt", 100); err != nil || string(got) != want.a {
			t.Errorf("%s: ReadFile %q %v", name, got, err)
		}
	}
	for _, bad := range []string{"nope", "--all", ""} {
		if _, err := OpenRef(t.Context(), dir, bad); !errors.Is(err, ErrUnknownRef) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	tree, err := OpenRef(t.Context(), dir, "v1")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tree.ReadFile(t.Context(), "nope", 10); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file at a commit: %v", err)
	}
}

func TestDetachedAndUnborn(t *testing.T) {
	dir := repository(t)
	git(t, dir, "checkout", "-q", "--detach")
	git(t, dir, "commit", "-q", "--allow-empty", "-m", "loose")
	tree, err := Open(t.Context(), dir)
	if err != nil || tree.Ref != tree.SHA {
		t.Errorf("loose commit: %+v, %v", tree, err)
	}
	git(t, dir, "tag", "v9")
	if tree, err = Open(t.Context(), dir); err != nil || tree.Ref != "refs/tags/v9" {
		t.Errorf("tagged commit: %+v, %v", tree, err)
	}
	empty := t.TempDir()
	git(t, empty, "init", "-q", "-b", "trunk")
	write(t, empty, "x", "x")
	if tree, err = Open(t.Context(), empty); err != nil || tree.SHA != Zeros || tree.Ref != "refs/heads/trunk" || !tree.Dirty {
		t.Errorf("no commit yet: %+v, %v", tree, err)
	}
	if got := packed(t, tree); got["x"] != "x" {
		t.Errorf("packed %q", got)
	}
}

func TestOutsideARepository(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "sub/x", "x")
	tree, err := Open(t.Context(), dir)
	if err != nil || tree.SHA != Zeros || tree.InRepository() {
		t.Fatalf("%+v, %v", tree, err)
	}
	files, err := tree.Files(t.Context())
	if err != nil || !slices.Equal(files, []string{"sub/x"}) {
		t.Fatalf("%q %v", files, err)
	}
	t.Setenv("HOME", dir)
	if _, err := tree.Files(t.Context()); !errors.Is(err, ErrTooWide) {
		t.Errorf("home directory: %v", err)
	}
	if _, err := OpenRef(t.Context(), dir, "main"); !errors.Is(err, ErrUnknownRef) {
		t.Errorf("ref outside a repository: %v", err)
	}
}

func TestRepositoryName(t *testing.T) {
	for address, want := range map[string]string{
		"https://example.com/team/project.git":    "team/project",
		"https://user@example.com:8443/a/b/c.git": "b/c",
		"ssh://git@example.com:22/team/project":   "team/project",
		"git@example.com:team/project.git":        "team/project",
		"/srv/git/project.git":                    "git/project",
		"project":                                 "",
		"":                                        "",
		"https://example.com/we ird/na$me":        "we-ird/na-me",
		"file:///srv/team/project":                "team/project",
	} {
		if got := repositoryName(address); got != want {
			t.Errorf("%q: %q, want %q", address, got, want)
		}
	}
}
