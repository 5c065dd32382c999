package supervisor

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/agent/supervisor/proto"
)

func TestLookupUser(t *testing.T) {
	dir := t.TempDir()
	passwd, group := filepath.Join(dir, "passwd"), filepath.Join(dir, "group")
	for file, text := range map[string]string{
		passwd: "broken\nroot:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\nbad:x:no:1::/:/bin/sh\n",
		group:  "root:x:0:\napp:x:1001:\ndocker:x:999:app,other\nempty:x:998\n",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for spec, want := range map[string]account{
		"":           {0, 0, nil, "/root"},
		"root":       {0, 0, nil, "/root"},
		"app":        {1000, 1001, []uint32{999}, "/home/app"},
		"1000":       {1000, 1001, []uint32{999}, "/home/app"},
		"app:docker": {1000, 999, nil, "/home/app"},
		"app:empty":  {1000, 998, nil, "/home/app"},
		"7:8":        {7, 8, nil, "/"},
		"7":          {7, 0, nil, "/"},
	} {
		got, err := lookupUser(spec, passwd, group)
		if err != nil || got.uid != want.uid || got.gid != want.gid || got.home != want.home || !slices.Equal(got.groups, want.groups) {
			t.Errorf("%q: %+v, %v; want %+v", spec, got, err, want)
		}
	}
	for _, spec := range []string{"ghost", "bad", "app:ghosts", "-1", ":"} {
		if got, err := lookupUser(spec, passwd, group); err == nil {
			t.Errorf("%q: %+v", spec, got)
		}
	}
	if got, err := lookupUser("0", filepath.Join(dir, "none"), group); err != nil || got.uid != 0 {
		t.Errorf("without /etc/passwd: %+v, %v", got, err)
	}
}

func TestMergeEnv(t *testing.T) {
	got := mergeEnv([]string{"A=1", "B=2", "A=3"}, []string{"C=", "B=x=y", "D"})
	if want := []string{"A=3", "B=x=y", "C=", "D"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestFindExecutable(t *testing.T) {
	dir := t.TempDir()
	for name, mode := range map[string]os.FileMode{"tool": 0o755, "data": 0o644} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	tool := filepath.Join(dir, "tool")
	for name, want := range map[string]string{"tool": tool, "./tool": tool, tool: tool} {
		if got, err := findExecutable(name, dir, "/nowhere:"+dir); err != nil || got != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for _, name := range []string{"data", "none", "./none", "/none"} {
		if got, err := findExecutable(name, dir, dir); !errors.Is(err, errNotFound) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestResolveTakesTheOtherCommand(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "sh"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	step := &proto.Step{Argv: []string{"bash", "a"}, Otherwise: []string{"sh", "b"}, Env: []string{"PATH=" + dir}, Dir: dir}
	if cmd, err := resolve(step, nil); err != nil || cmd.path != filepath.Join(dir, "sh") || cmd.argv[1] != "b" {
		t.Errorf("no bash: %+v, %v", cmd, err)
	}
	step.Otherwise[0] = "zsh"
	if _, err := resolve(step, nil); err == nil || !strings.Contains(err.Error(), "bash") {
		t.Errorf("neither: %v", err)
	}
	step.Argv[0], step.Otherwise[0] = "sh", "bash"
	if cmd, err := resolve(step, nil); err != nil || cmd.argv[1] != "a" {
		t.Errorf("the first is there: %+v, %v", cmd, err)
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("12 (a) b) S 1 12 12 0 -1"))
	f.Add([]byte("(x"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if p, ok := parseStat(data); ok && p.pid == 0 && len(data) < 4 {
			t.Errorf("%q became %+v", data, p)
		}
	})
}

func TestParseStat(t *testing.T) {
	p, ok := parseStat([]byte("12 (evil) name) Z 3 4 5 0 -1\n"))
	if !ok || p != (process{pid: 12, ppid: 3, pgid: 4, sid: 5, zombie: true}) {
		t.Errorf("%+v, %v", p, ok)
	}
}
