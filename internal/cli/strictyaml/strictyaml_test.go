package strictyaml

import (
	"strings"
	"testing"
	"time"
)

type file struct {
	Name  string        `yaml:"name"`
	Count int           `yaml:"count"`
	On    bool          `yaml:"on_it"`
	Wait  time.Duration `yaml:"wait"`
	List  []string      `yaml:"list"`
	Part  struct {
		X string `yaml:"x"`
	} `yaml:"part"`
	Named map[string]file `yaml:"named"`
}

func TestWhatIsWrongWithAFile(t *testing.T) {
	for src, want := range map[string]string{
		"":                               "",
		"# nothing\n":                    "",
		"name: a\ncount: 3\nwait: 5m\n":  "",
		"name: a\nnam: b\n":              "f.yaml:2: unknown key `nam`",
		"part:\n  y: 1\n":                "f.yaml:2: unknown key `y`",
		"count: many\n":                  "f.yaml:1: `many` stands where a number belongs",
		"on_it: perhaps\n":               "f.yaml:1: `perhaps` stands where true or false belongs",
		"wait: soon\n":                   "f.yaml:1: `soon` stands where a time such as 5m belongs",
		"list: {a: b}\n":                 "f.yaml:1: a mapping stands where a list belongs",
		"part: [a]\n":                    "f.yaml:1: a list stands where a mapping belongs",
		"- a\n":                          "f.yaml:1: a list stands where a mapping belongs",
		"name: a\nnamed: {a: b}\nx: 1\n": "f.yaml:2: `b` stands where a mapping belongs\nf.yaml:3: unknown key `x`",
		"name: [a\n":                     "(this is not YAML)",
	} {
		got := ""
		if err := Decode("f.yaml", []byte(src), &file{}); err != nil {
			got = err.Error()
		}
		if got != want && (want == "" || !strings.HasSuffix(got, want)) || strings.Contains(got, "yaml: ") || strings.Contains(got, "strictyaml.") {
			t.Errorf("%q: %q, want %q", src, got, want)
		}
	}
}
