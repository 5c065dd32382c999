package glob

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func tree(t *testing.T, files ...string) []Tree {
	t.Helper()
	dir := t.TempDir()
	for _, f := range files {
		p := filepath.Join(dir, f)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(f), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return []Tree{{Prefix: "/w", Root: root}}
}

func TestFind(t *testing.T) {
	trees := tree(t, "a.txt", "b.md", "d/a.txt", "d/e/a.txt", "d/e/x.xml", ".hidden/a.txt", "d/.env", "node_modules/p/package-lock.json", "package-lock.json")
	cases := []struct {
		name, patterns string
		hidden         bool
		want           string
	}{
		{"one file", "a.txt", false, "/w/a.txt"},
		{"a directory means all in it", "d", false, "/w/d/a.txt /w/d/e/a.txt /w/d/e/x.xml"},
		{"trailing slash", "d/", false, "/w/d/a.txt /w/d/e/a.txt /w/d/e/x.xml"},
		{"star stays in its directory", "*.txt", false, "/w/a.txt"},
		{"two stars", "**/a.txt", false, "/w/a.txt /w/d/a.txt /w/d/e/a.txt"},
		{"two stars in the middle", "d/**/*.txt", false, "/w/d/a.txt /w/d/e/a.txt"},
		{"question mark and class", "?.[!m]*", false, "/w/a.txt"},
		{"exclude", "d\n!d/e", false, "/w/d/a.txt"},
		{"exclude, then include again", "d\n!d/e\nd/e/x.xml", false, "/w/d/a.txt /w/d/e/x.xml"},
		{"absolute", "/w/d/e/*.xml", false, "/w/d/e/x.xml"},
		{"hidden only on request", "d/.env", true, "/w/d/.env"},
		{"hidden not by default", "**/.env\n.hidden/**", false, ""},
		{"comments and blanks", "# note\n\na.txt", false, "/w/a.txt"},
		{"lock files", "**/package-lock.json\n!**/node_modules/**", false, "/w/package-lock.json"},
		{"nothing", "*.zip", false, ""},
		{"an open bracket is itself", "[", false, ""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			got, err := Compile(strings.Split(c.patterns, "\n"), "/w", "/home").Find(trees, Options{Hidden: c.hidden})
			if err != nil || strings.Join(got, " ") != c.want {
				t.Errorf("got %v, %v; want %s", got, err, c.want)
			}
		})
	}
}

func TestFindLooksNowhereElse(t *testing.T) {
	trees := tree(t, "a")
	var outside *OutsideError
	if _, err := Compile([]string{"/etc/*"}, "/w", "/h").Find(trees, Options{}); !errors.As(err, &outside) {
		t.Errorf("outside: %v", err)
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for link, target := range map[string]string{"leak": secret, "loop": ".", "dir": filepath.Dir(secret), "good": "a", "broken": "gone"} {
		if err := trees[0].Root.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Compile([]string{"."}, "/w", "/h").Find(trees, Options{})
	if err != nil || !reflect.DeepEqual(got, []string{"/w/a", "/w/good"}) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestFindOnlyInside(t *testing.T) {
	trees := tree(t, "a.txt", "d/a.txt")
	if err := trees[0].Root.Symlink("/etc", "out"); err != nil {
		t.Fatal(err)
	}
	for pattern, want := range map[string]string{
		"/etc/*": "", "../other/*": "", "out/passwd": "", "/etc/*\na.txt": "/w/a.txt", "/**/a.txt": "/w/a.txt /w/d/a.txt", "../*/d/*": "/w/d/a.txt",
	} {
		got, err := Compile(strings.Split(pattern, "\n"), "/w", "/h").Find(trees, Options{OnlyInside: true})
		if err != nil || strings.Join(got, " ") != want {
			t.Errorf("%q: %q, %v; want %q", pattern, got, err, want)
		}
	}
}

func TestFindHoldsItsLimit(t *testing.T) {
	trees := tree(t, "a", "b", "c")
	if _, err := Compile([]string{"."}, "/w", "/h").Find(trees, Options{MaxFiles: 2}); !errors.Is(err, ErrTooMany) {
		t.Errorf("got %v", err)
	}
}

func TestSearchPathsAndCommonAncestor(t *testing.T) {
	s := Compile([]string{"a/b/*.txt", "a/c", "a/c/d/**", "!x"}, "/w", "/h")
	if got := s.SearchPaths(); !reflect.DeepEqual(got, []string{"/w/a/b", "/w/a/c"}) {
		t.Errorf("search paths %v", got)
	}
	if got := CommonAncestor(s.SearchPaths()); got != "/w/a" {
		t.Errorf("common ancestor %s", got)
	}
	if got := CommonAncestor([]string{"/a/bc", "/a/b"}); got != "/a" {
		t.Errorf("common ancestor %s", got)
	}
}

func TestMatchingIsLinear(t *testing.T) {
	s := Compile([]string{strings.Repeat("**/*a*/", 40) + "z"}, "/w", "/h")
	begin := time.Now()
	s.Match("/w" + strings.Repeat("/aaaaaaaa", 200))
	if d := time.Since(begin); d > time.Second {
		t.Errorf("took %v", d)
	}
}

func TestLinksOnTheWayAreNotFollowedOutside(t *testing.T) {
	dir := t.TempDir()
	for name, target := range map[string]string{"out": "/etc", "loop": "loop"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	find := func(pattern string) ([]string, error) {
		return Compile([]string{pattern}, "/w", "/h").Find([]Tree{{Prefix: "/w", Root: root}}, Options{})
	}
	for _, p := range []string{"out/passwd", "out/pass*", "loop/x"} {
		var outside *OutsideError
		if got, err := find(p); !errors.As(err, &outside) && len(got) > 0 || err != nil && outside == nil {
			t.Errorf("%s: %q, %v", p, got, err)
		}
	}
	if _, err := find("out/passwd"); err == nil || !strings.Contains(err.Error(), "a link on the way") {
		t.Errorf("%v", err)
	}
	for _, p := range []string{"file/x", "out", "nothing"} {
		if got, err := find(p); err != nil || len(got) != 0 {
			t.Errorf("%s: %q, %v", p, got, err)
		}
	}
}
