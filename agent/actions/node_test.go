package actions

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const printed = "cache /c/node/20.1.0/x64\ncache /c/node/20.20.1/x64\ncache /c/node/24.2.0/x64\npath v22.3.0 /usr/bin/node\n"

func TestPick(t *testing.T) {
	for name, c := range map[string]struct {
		wanted      uint64
		has, binary string
		says, lacks string
	}{
		"the newest of its line":     {20, printed, "/c/node/20.20.1/x64/bin/node", "", ""},
		"an old one runs on 20":      {12, printed, "/c/node/20.20.1/x64/bin/node", "", ""},
		"of its line":                {24, printed, "/c/node/24.2.0/x64/bin/node", "", ""},
		"on PATH":                    {20, "path v20.3.0 /usr/bin/node\n", "/usr/bin/node", "", ""},
		"the cache before PATH":      {20, "path v20.99.0 /usr/bin/node\ncache /c/node/20.1.0/x64\n", "/c/node/20.1.0/x64/bin/node", "", ""},
		"the next newer one":         {20, "cache /c/node/24.2.0/x64\npath v22.3.0 /my node\n", "/my node", "", ""},
		"none at all":                {20, "", "", "it has none", "stands in"},
		"only older ones":            {24, "cache /c/node/20.1.0/x64\n", "", "it has 20.1.0", "stands in"},
		"old ones have no old node":  {16, "path v18.1.0 /usr/bin/node\n", "", "which 20 stands in for", ""},
		"what is no version is none": {20, "cache /c/node/latest/x64\npath nonsense /x\nwhat\n", "", "it has none", ""},
		"a release, not a candidate": {24, "cache /c/node/24.0.0-rc.1/x64\n", "", "it has 24.0.0-rc.1", ""},
	} {
		got, err := Pick("./a", c.wanted, Nodes(c.has), "/c")
		var none *NoNodeError
		if c.binary != "" && (err != nil || got.Binary != c.binary) {
			t.Errorf("%s: %v %v", name, got, err)
		}
		if c.binary == "" && (!errors.As(err, &none) || !strings.Contains(err.Error(), c.says) || c.lacks != "" && strings.Contains(err.Error(), c.lacks)) {
			t.Errorf("%s: %v %v", name, got, err)
		}
	}
}

// TestListNodes runs the script as an image's shell would.
func TestListNodes(t *testing.T) {
	cache := t.TempDir()
	write := func(path, text string) {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write(cache+"/node/20.1.0/x64/bin/node", "")
	write(cache+"/node/24.1.0/arm64/bin/node", "")
	write(cache+"/bin/node", "#!/bin/sh\necho v22.1.0\n")
	cmd := exec.Command("/bin/sh", "-c", ListNodes, cache, "x64")
	cmd.Env = []string{"PATH=" + cache + "/bin:/usr/bin:/bin"}
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	got := Nodes(string(out))
	if len(got) != 2 || got[0].Binary != cache+"/node/20.1.0/x64/bin/node" || got[0].OnPath || got[1].Binary != cache+"/bin/node" || got[1].Version.String() != "22.1.0" {
		t.Errorf("%q: %v", out, got)
	}
	cmd = exec.Command("/bin/sh", "-c", ListNodes, t.TempDir(), "x64")
	cmd.Env = []string{"PATH=/nowhere"}
	if out, err := cmd.Output(); err != nil || len(out) != 0 {
		t.Errorf("an image without node: %q, %v", out, err)
	}
}

func TestInputVariable(t *testing.T) {
	if got := InputVariable("some name-x.y"); got != "INPUT_SOME_NAME-X.Y" {
		t.Error(got)
	}
}
