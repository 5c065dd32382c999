package dev

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/slipway-ci/slipway/internal/cli/agentconf"
	"github.com/slipway-ci/slipway/internal/cli/settings"
)

// fakeContainerd never runs.
type fakeContainerd struct{ dir string }

func (f fakeContainerd) Alive() bool                        { return false }
func (f fakeContainerd) Start(context.Context) (int, error) { return 0, os.ErrNotExist }
func (f fakeContainerd) Socket() string                     { return filepath.Join(f.dir, "c.sock") }
func (f fakeContainerd) LogFile() string                    { return filepath.Join(f.dir, "c.log") }
func (f fakeContainerd) Available() error                   { return nil }

func config(t *testing.T) Config {
	t.Helper()
	dir := t.TempDir()
	return Config{
		Dirs: settings.Dirs{Data: dir + "/data", State: dir + "/state", Runtime: dir + "/run", Config: dir + "/config"},
		Exe:  "/bin/true", Listen: "127.0.0.1:1", PrivateContainerd: true, Private: fakeContainerd{dir}, CAFile: "pki/ca.pem", AdminTokenFile: "admin.token",
		Mirrors: func(string) ([]string, error) { return []string{"mirror:1"}, nil },
		Sweep:   func(context.Context, agentconf.Config) error { return nil },
		Getenv:  func(string) string { return "" }, Log: slog.New(slog.DiscardHandler),
	}
}

func agentOf(t *testing.T, d *Dev) (c agentconf.Config, fingerprint string) {
	t.Helper()
	b, err := d.wantedAgent()
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(b, &c); err != nil || c.Check() != nil {
		t.Fatal(err, c.Check())
	}
	return c, string(b)
}

func TestStacksInDifferentDirectoriesDoNotMeet(t *testing.T) {
	first, err := New(config(t))
	if err != nil {
		t.Fatal(err)
	}
	second, err := New(config(t))
	if err != nil {
		t.Fatal(err)
	}
	a, text := agentOf(t, first)
	b, _ := agentOf(t, second)
	if a.Sandbox.Namespace == b.Sandbox.Namespace || a.Sandbox.Bridge == b.Sandbox.Bridge || a.Sandbox.Cgroup == b.Sandbox.Cgroup {
		t.Errorf("shared names: %+v and %+v", a.Sandbox, b.Sandbox)
	}
	if len(a.Sandbox.Bridge) > 15 {
		t.Errorf("%q is too long for an interface", a.Sandbox.Bridge)
	}
	if _, again := agentOf(t, first); again != text {
		t.Error("the same stack has another configuration the second time: it would be restarted each time")
	}
}

func TestConfigurationIsKeptForLaterStarts(t *testing.T) {
	c := config(t)
	c.Coordinator = filepath.Join(t.TempDir(), "c.yaml")
	if err := os.WriteFile(c.Coordinator, []byte("registries: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.writeFiles(); err != nil {
		t.Fatal(err)
	}
	before := d.stack.Processes
	c.Coordinator = ""
	if d, err = New(c); err != nil {
		t.Fatal(err)
	}
	for i, p := range d.stack.Processes {
		if p.Fingerprint != before[i].Fingerprint || strings.Join(p.Argv, " ") != strings.Join(before[i].Argv, " ") {
			t.Errorf("%s changed", p.Name)
		}
	}
	c.Coordinator = "/nope"
	if _, err := New(c); err == nil {
		t.Error("a missing configuration was accepted")
	}
}

// TestAddressesAreLookedAtFirst: one that can't be used is refused before anything that runs is replaced.
func TestAddressesAreLookedAtFirst(t *testing.T) {
	c := config(t)
	c.Listen, c.Metrics, c.AgentMetrics = "nope", "", "127.0.0.1"
	if _, err := New(c); err == nil || !strings.Contains(err.Error(), `--listen "nope": want host:port`) || strings.Count(err.Error(), "want host:port") != 2 {
		t.Errorf("%v", err)
	}
}

func TestStatusAndStopOfNothing(t *testing.T) {
	d, err := New(config(t))
	if err != nil {
		t.Fatal(err)
	}
	s, err := d.Status(t.Context())
	if err != nil || s.Healthy || len(s.Processes) != 4 {
		t.Fatalf("%+v %v", s, err)
	}
	var out strings.Builder
	if err := Print(&out, s); err != nil || !strings.Contains(out.String(), "not running") {
		t.Errorf("%q %v", out.String(), err)
	}
	if err := d.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestStatusAsksWhereTheStackListens(t *testing.T) {
	c := config(t)
	f := settings.File{Contexts: map[string]settings.Context{ContextName: {Address: "127.0.0.1:2"}}}
	if err := f.Save(c.Dirs.ContextFile()); err != nil {
		t.Fatal(err)
	}
	d, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := d.Status(t.Context()); err != nil || s.Address != "127.0.0.1:2" {
		t.Errorf("%+v %v", s, err)
	}
}

func TestContextFileGetsTheToken(t *testing.T) {
	c := config(t)
	d, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	if d.contextWritten() {
		t.Error("written before there is a token")
	}
	if err := settings.WriteFile(filepath.Join(d.coordinatorData(), c.AdminTokenFile), []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := d.writeContext(); err != nil || !d.contextWritten() {
		t.Fatal(err)
	}
	got, err := settings.Resolve(c.Dirs.ContextFile(), settings.Override{})
	if err != nil || got.Token != "secret" || got.Address != c.Listen {
		t.Errorf("%+v %v", got, err)
	}
}
