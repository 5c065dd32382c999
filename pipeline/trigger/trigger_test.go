package trigger

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/pipeline/syntax"
)

// The examples are those of GitHub's "Filter pattern cheat sheet".
func TestGlob(t *testing.T) {
	for pattern, texts := range map[string][2]string{
		"feature/*":                 {"feature/my-branch feature/your-branch", "feature feature/beta-a/my-branch"},
		"feature/**":                {"feature/beta-a/my-branch feature/your-branch feature/mona/the/octocat", "feature"},
		"main":                      {"main", "mains amain"},
		"releases/mona-the-octocat": {"releases/mona-the-octocat", "x"},
		"*":                         {"main releases", "all/the/branches"},
		"**":                        {"all/the/branches every/tag", ""},
		"*feature":                  {"mona-feature feature ver-10-feature", "a/feature"},
		"v2*":                       {"v2 v2.0 v2.9", "v1"},
		"v[12].[0-9]+.[0-9]+":       {"v1.10.1 v2.0.0", "v3.0.0 v1..0 v1.0"},
		"*.jsx?":                    {"page.js page.jsx", "page.jsxx a/page.js"},
		"**.js":                     {"index.js js/index.js src/js/app.js", "index.jsx"},
		"docs/*":                    {"docs/README.md docs/file.txt", "docs/a/b"},
		"docs/**":                   {"docs/README.md docs/mona/octocat.txt", "doc"},
		"docs/**/*.md":              {"docs/README.md docs/mona/hello-world.md docs/a/markdown/file.md", "docs/x.txt"},
		"**/docs/**":                {"docs/hello.md dir/docs/my-file.txt space/docs/plan/space.doc", "docs mydocs/x"},
		"**/README.md":              {"README.md js/README.md", "xREADME.md"},
		"**/*src/**":                {"a/src/app.js my-src/code/js/app.js", "a/srcs/x"},
		"**/*-post.md":              {"my-post.md path/their-post.md", "post.md"},
		"**/migrate-*.sql":          {"migrate-10909.sql db/migrate-v1.0.sql db/sept/migrate-v1.sql", "migrate.sql"},
		"[!a]x":                     {"bx", "ax x"},
		`\*`:                        {"*", "x"},
		"a+b?":                      {"a aa aab", "b abb"},
		"[]]":                       {"]", "x"},
	} {
		g, err := ParseGlob(pattern)
		if err != nil {
			t.Errorf("%s: %v", pattern, err)
			continue
		}
		for i, list := range texts {
			for _, text := range strings.Fields(list) {
				if g.Match(text) != (i == 0) {
					t.Errorf("%s and %s: %v", pattern, text, i != 0)
				}
			}
		}
	}
	for _, bad := range []string{"", "!", "[", "[a", "[z-a]", "?x", "+", "*?", "x\\", "a\xff", strings.Repeat("x", 2000)} {
		if _, err := ParseGlob(bad); err == nil {
			t.Errorf("%.20q was accepted", bad)
		}
	}
}

func TestGlobIsBounded(t *testing.T) {
	g, err := ParseGlob(strings.Repeat("**a", 300) + "b")
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if g.Match(strings.Repeat("a", 10_000)) {
		t.Fatal("it matched")
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Fatal(took)
	}
}

func TestMatch(t *testing.T) {
	push := func(ref string, files ...string) Event {
		return Event{Name: "push", Ref: ref, Files: files, FilesKnown: files != nil}
	}
	pr := func(base, action string) Event { return Event{Name: "pull_request", BaseRef: base, Action: action} }
	for _, c := range []struct {
		on   string
		ev   Event
		want string
	}{
		{"push", push("refs/heads/x"), ""},
		{"[push, pull_request]", pr("main", ""), ""},
		{"push", pr("main", ""), "its `on` does not name pull_request"},
		{"{push: {branches: [main, 'rel/**']}}", push("refs/heads/rel/1/2"), ""},
		{"{push: {branches: main}}", push("refs/heads/other"), "its `branches` do not match other"},
		{"{push: {branches: ['**', '!x*', 'xy']}}", push("refs/heads/xz"), "its `branches` do not match xz"},
		{"{push: {branches: ['**', '!x*', 'xy']}}", push("refs/heads/xy"), ""},
		{"{push: {branches-ignore: [x]}}", push("refs/heads/x"), "its `branches-ignore` matches x"},
		{"{push: {branches: [main]}}", push("refs/tags/v1"), "it runs on pushes of branches only"},
		{"{push: {tags: ['v*']}}", push("refs/heads/main"), "it runs on pushes of tags only"},
		{"{push: {tags: ['v*']}}", push("refs/tags/v1.2"), ""},
		{"{push: {tags: ['v*'], paths: ['x']}}", push("refs/tags/v1.2", "y"), ""},
		{"{push: {paths: ['src/**']}}", push("refs/heads/x", "README.md"), "no changed file matches its `paths`"},
		{"{push: {paths: ['src/**']}}", push("refs/heads/x", "README.md", "src/a"), ""},
		{"{push: {paths: ['src/**']}}", push("refs/heads/x"), ""},
		{"{push: {paths-ignore: ['docs/**']}}", push("refs/heads/x", "docs/a"), "every changed file matches its `paths-ignore`"},
		{"{push: {paths-ignore: ['docs/**']}}", push("refs/heads/x", "docs/a", "b"), ""},
		{"pull_request", pr("refs/heads/main", "opened"), ""},
		{"pull_request", pr("main", "labeled"), "its `types` do not name labeled"},
		{"{pull_request: {types: [labeled]}}", pr("main", "labeled"), ""},
		{"{pull_request: {branches: [main]}}", pr("dev", "opened"), "its `branches` do not match dev"},
		{"{pull_request: {branches: [main]}}", pr("", "opened"), ""},
		{"workflow_dispatch", Event{Name: "workflow_dispatch"}, ""},
	} {
		src := "on: " + c.on + "\njobs: {a: {runs-on: x, steps: [{run: a}]}}\n"
		v, found := Starts("x.yml", []byte(src), c.ev, syntax.Limits{})
		if found.HasErrors() || v.Reason != c.want || v.Starts != (c.want == "") {
			t.Errorf("%s, %+v: %+v %v, want %q", c.on, c.ev, v, found, c.want)
		}
	}
	if v, found := Starts("x.yml", []byte("on: pusch"), push(""), syntax.Limits{}); v.Starts || !found.HasErrors() {
		t.Error("a broken file starts")
	}
}

// FuzzGlob holds patterns without ? and + against regular expressions.
func FuzzGlob(f *testing.F) {
	f.Add("feature/**", "feature/x/y")
	f.Add("**/*.js", "a/b.js")
	f.Add("v[0-9]*", "v1")
	f.Fuzz(func(t *testing.T, pattern, text string) {
		g, err := ParseGlob(pattern)
		if err != nil {
			return
		}
		got := g.Match(text)
		if strings.ContainsAny(pattern, `?+[\`) || strings.Contains(pattern, "***") {
			return
		}
		p := regexp.QuoteMeta(strings.TrimPrefix(pattern, "!"))
		p = strings.ReplaceAll(p, `\*\*`, "\x01")
		if strings.HasPrefix(p, "\x01/") {
			p = "(.*/)?" + p[2:]
		}
		p = strings.ReplaceAll(p, "/\x01/", "/(.*/)?")
		p = strings.ReplaceAll(p, "\x01", ".*")
		p = strings.ReplaceAll(p, `\*`, "[^/]*")
		if strings.Contains(p, "(.*/)?\x01") || strings.ContainsRune(pattern, 1) {
			return
		}
		re, err := regexp.Compile(`(?s)\A` + p + `\z`)
		if err != nil {
			return
		}
		if want := re.MatchString(text); got != want {
			t.Fatalf("%q and %q: %v, want %v (%s)", pattern, text, got, want, p)
		}
	})
}
