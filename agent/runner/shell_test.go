package runner

import (
	"reflect"
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/agent/commands"
)

func TestCommand(t *testing.T) {
	cases := []struct {
		shell     string
		container bool
		want      string
	}{
		{"", false, "bash -e /d/script.sh"},
		{"", true, "sh -e /d/script.sh"},
		{"bash", true, "bash --noprofile --norc -e -o pipefail /d/script.sh"},
		{"sh", false, "sh -e /d/script.sh"},
		{"python", false, "python /d/script.py"},
		{"pwsh", false, "pwsh|-command|. '/d/script.ps1'"},
		{"perl -w {0}", false, "perl -w /d/script.sh"},
		{`bash -c "cat {0}"`, false, "bash|-c|cat /d/script.sh"},
	}
	for _, c := range cases {
		want := strings.Split(c.want, "|")
		if len(want) == 1 {
			want = strings.Fields(c.want)
		}
		if got, _, err := command(c.shell, c.container, "/d"); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %q, %v", c.shell, got, err)
		}
	}
	for shell, want := range map[string]string{"": "sh -e /d/s", "python": "python3 /d/s", "bash": "", "perl {0}": ""} {
		if got := strings.Join(otherwise(shell, false, "/d/s"), " "); got != want {
			t.Errorf("otherwise %q: %q, want %q", shell, got, want)
		}
	}
	if got := otherwise("", true, "/d/s"); got != nil {
		t.Errorf("in a container otherwise: %q", got)
	}
	for _, bad := range []string{"zsh", "cmd", "powershell", `bash "{0}`} {
		if _, _, err := command(bad, false, "/d"); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestWorkingDir(t *testing.T) {
	for want, candidates := range map[string][]string{"/w": {"", "", ""}, "/w/a": {"", "a", "b"}, "/abs": {"/abs/", "x"}, "/x": {"../x"}} {
		if got := workingDir("/w", candidates...); got != want {
			t.Errorf("%q: %s, want %s", candidates, got, want)
		}
	}
}

func TestDisplayIsTheFirstLine(t *testing.T) {
	if got := display("\n  npm ci\r\nnpm test\n"); got != "Run npm ci" {
		t.Errorf("got %q", got)
	}
}

// TestDisplayShowsNoMask: also beside letters whose lower case has more bytes.
func TestDisplayShowsNoMask(t *testing.T) {
	for script, want := range map[string]string{
		"echo ::add-mask::value": "Run echo ::add-mask::***", "echo ȺȺȺȺȺ::Add-Mask::v": "Run echo ȺȺȺȺȺ::Add-Mask::***",
	} {
		if got := display(script); got != want {
			t.Errorf("%s: %q, want %q", script, got, want)
		}
	}
}

func TestPathOrder(t *testing.T) {
	var v values
	v.take(1, &stepValues{Path: []string{"/a", "/b"}})
	v.take(2, &stepValues{Path: []string{"/c", "/a"}})
	env := withPath([]commands.Pair{{Name: "X", Value: "y"}}, v.paths, "/usr/bin")
	if got := env[len(env)-1].Value; got != "/a:/c:/b:/usr/bin" {
		t.Errorf("PATH is %s", got)
	}
	env = withPath([]commands.Pair{{Name: "PATH", Value: "/own"}}, v.paths, "/usr/bin")
	if got := env[0].Value; got != "/a:/c:/b:/own" {
		t.Errorf("PATH is %s", got)
	}
}
