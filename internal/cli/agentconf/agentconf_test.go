package agentconf

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

func TestLoadAndCheck(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	token := write("token", " secret\n")
	c := Config{Coordinator: "host:1", DataDir: "/data", TokenFile: token, Slots: 3,
		Sandbox: Sandbox{Subnet: "10.1.0.0/24", Registries: map[string]Registry{"r:1": {PlainHTTP: true}}, PassEnv: []string{"A", "B"}}}
	out, err := yaml.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Load(write("c.yaml", string(out)))
	if err != nil || got.Check() != nil || got.Slots != 3 || !got.Sandbox.Registries["r:1"].PlainHTTP {
		t.Fatalf("%+v %v", got, err)
	}
	if s, err := got.Token(); err != nil || s != "secret" {
		t.Errorf("%q %v", s, err)
	}
	if env := got.Sandbox.Env(func(k string) string { return map[string]string{"B": "2"}[k] }); !slices.Equal(env, []string{"B=2"}) {
		t.Errorf("%q", env)
	}
	if _, err := Load(write("bad.yaml", "slot: 1\n")); err == nil || !strings.Contains(err.Error(), "slot") {
		t.Errorf("unknown key: %v", err)
	}
	for _, bad := range []Sandbox{{Kind: "docker"}, {ToolCache: "/opt"}, {Kind: Process, Socket: "/s"}, {Kind: Process, Registries: got.Sandbox.Registries},
		{Kind: Process, Runtimes: map[string]Runtime{"r": {Path: "/r"}}}, {Kind: Process, UserIDs: UserIDs{Pods: 1}}} {
		c.Sandbox = bad
		if err := c.Check(); err == nil || strings.Count(err.Error(), "sandbox.") != 1 {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	for _, good := range []Sandbox{{Kind: Containerd, Socket: "/s"}, {Kind: Process, ToolCache: "/opt", Cgroup: "none"}} {
		c.Sandbox = good
		if err := c.Check(); err != nil {
			t.Errorf("%+v: %v", good, err)
		}
	}
	if err := (Config{Slots: -1, DataDir: "x", Sandbox: Sandbox{Subnet: "x"}}).Check(); err == nil || strings.Count(err.Error(), "\n") != 3 {
		t.Errorf("%v", err)
	}
}
