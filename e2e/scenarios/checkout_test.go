package scenarios

import (
	"os"
	"strings"
	"testing"
)

// showTree prints a checked-out tree: every file with its first line, and what git would say of it.
const showTree = `
on: push
jobs:
  a:
    runs-on: busybox
    steps:
      - uses: actions/checkout@v4
      - shell: sh
        run: |
          find . -type f -not -path './.git/*' | sort | while read -r f; do echo "$f: $(head -1 "$f")"; done
          [ -x tool.sh ] && echo executable
          readlink link || true
          echo "$GITHUB_SHA $GITHUB_REF $GITHUB_REPOSITORY"
`

// TestCheckoutOfADirtyTree: what is changed, new and deleted is seen, what is ignored is not, and the run is marked.
func TestCheckoutOfADirtyTree(t *testing.T) {
	t.Parallel()
	p := newProject(t, map[string]string{
		".github/workflows/ci.yml": showTree, ".gitignore": "*.log\nnode_modules/\n!keep.log\n", "sub/.gitignore": "/local\n",
		"a.txt": "old a\n", "gone.txt": "x\n", "sub/b.txt": "b\n", "tool.sh": "#!/bin/sh\n",
	})
	if err := os.Chmod(p.dir+"/tool.sh", 0o755); err != nil {
		t.Fatal(err)
	}
	p.git("init", "-q", "-b", "trunk")
	p.git("remote", "add", "origin", "git@github.example.com:acme/shop.git")
	p.git("add", ".")
	p.git("commit", "-q", "-m", "first")
	sha := p.git("rev-parse", "HEAD")

	p.write("a.txt", "new a\n")
	p.write("untracked file.txt", "u\n")
	p.write("ünicode.txt", "ü\n")
	p.write("debug.log", "ignored\n")
	p.write("keep.log", "kept\n")
	p.write("node_modules/x/index.js", "ignored\n")
	p.write("sub/local", "ignored\n")
	if err := os.Remove(p.dir + "/gone.txt"); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("a.txt", p.dir+"/link"); err != nil {
		t.Fatal(err)
	}
	const untouched = "./.gitignore: *.log\n"
	dirty := "./.github/workflows/ci.yml: \n" + untouched + "./a.txt: new a\n./keep.log: kept\n./sub/.gitignore: /local\n./sub/b.txt: b\n" +
		"./tool.sh: #!/bin/sh\n./untracked file.txt: u\n./ünicode.txt: ü\nexecutable\na.txt\n" + sha + " refs/heads/trunk acme/shop\n"
	committed := "./.github/workflows/ci.yml: \n" + untouched + "./a.txt: old a\n./gone.txt: x\n./sub/.gitignore: /local\n./sub/b.txt: b\n" +
		"./tool.sh: #!/bin/sh\nexecutable\n" + sha + " refs/heads/trunk acme/shop\n"

	for _, tt := range []struct {
		name  string
		args  []string
		want  string
		dirty bool
	}{
		{"working tree", nil, dirty, true},
		{"commit", []string{"--ref", "trunk"}, committed, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := &project{t, p.dir}
			res := p.slipway(append([]string{"run", "-o", "json"}, tt.args...)...)
			if res.Code != succeeded {
				t.Fatalf("exit code %d\n%s%s", res.Code, res.Stdout, res.Stderr)
			}
			o := outcome{p, decodeRuns(t, res.Stdout)[0]}
			if got := o.log("a"); !strings.HasSuffix(got, tt.want) {
				t.Errorf("tree\n%s\nwant\n%s", got, tt.want)
			}
			if s := o.run.GetSource(); s.GetDirty() != tt.dirty || s.GetSha() != sha || s.GetRepository() != "acme/shop" {
				t.Errorf("source %v", s)
			}
			if shown := o.must("runs", "show", o.run.GetId()); strings.Contains(shown, "dirty") != tt.dirty {
				t.Errorf("runs show: %s", shown)
			}
		})
	}
}

// TestCheckoutOutsideARepository packs the whole directory, from wherever in it the user stands.
func TestCheckoutOutsideARepository(t *testing.T) {
	t.Parallel()
	p := newProject(t, map[string]string{".slipway/ci.yml": showTree, "a.txt": "a\n", "deep/er/b.txt": "b\n"})
	p.dir += "/deep/er"
	res := p.slipway("run", "-o", "json")
	if res.Code != succeeded {
		t.Fatalf("exit code %d\n%s%s", res.Code, res.Stdout, res.Stderr)
	}
	o := outcome{p, decodeRuns(t, res.Stdout)[0]}
	if got := o.log("a"); !strings.Contains(got, "./a.txt: a\n./deep/er/b.txt: b\n") {
		t.Errorf("tree %s", got)
	}
}

// TestEventFilters: without FILE, the workflows that the event would start; with FILE that one.
func TestEventFilters(t *testing.T) {
	t.Parallel()
	job := "jobs: {a: {runs-on: busybox, " + oneLine + "}}\n"
	p := newProject(t, map[string]string{
		".github/workflows/push.yml": "name: Push\non: push\n" + job,
		".github/workflows/tags.yml": "name: Tags\non: {push: {tags: ['v*']}}\n" + job,
		".github/workflows/pr.yaml":  "name: PR\non: [pull_request]\n" + job,
		".slipway/main.yml":          "name: Main\non: {push: {branches: [main]}}\n" + job,
		".slipway/notes.txt":         "not a workflow",
	})
	names := func(args ...string) string {
		t.Helper()
		var out []string
		for _, r := range decodeRuns(t, p.must(append([]string{"run", "-o", "json"}, args...)...)) {
			out = append(out, r.GetName())
		}
		return strings.Join(out, " ")
	}
	p.git("init", "-q", "-b", "main")
	p.git("add", ".")
	p.git("commit", "-q", "-m", "first")
	if got := names(); got != "Main Push" {
		t.Errorf("push started %q", got)
	}
	if got := names("--event", "pull_request"); got != "PR" {
		t.Errorf("pull_request started %q", got)
	}
	if got := names(".github/workflows/tags.yml"); got != "Tags" {
		t.Errorf("a named file started %q", got)
	}
	refused(t, p, []string{"workflow_dispatch", "pr.yaml", "tags.yml"}, "run", "--event", "workflow_dispatch")
}
