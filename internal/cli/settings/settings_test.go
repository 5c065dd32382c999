package settings

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDirs(t *testing.T) {
	env := map[string]string{"XDG_DATA_HOME": "/d", "XDG_STATE_HOME": "relative"}
	got := DirsFrom(func(k string) string { return env[k] }, "/home/x", 0)
	want := Dirs{Data: "/d/slipway", State: "/home/x/.local/state/slipway", Runtime: "/run/slipway", Config: "/home/x/.config/slipway"}
	if got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if got := DirsFrom(func(string) string { return "" }, "/h", 7).Runtime; got != "/tmp/slipway-7/slipway" {
		t.Error(got)
	}
}

func TestContextFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "c", "contexts.yaml")
	if _, err := Resolve(path, Override{}); !errors.Is(err, ErrNoContext) {
		t.Fatalf("no file: %v", err)
	}
	f, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	f.Put("dev", Context{Address: "127.0.0.1:1", Token: "a", CA: "/ca"})
	f.Put("team", Context{Address: "team:1", Token: "b"})
	if err := f.Save(path); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v %v", info.Mode(), err)
	}
	tokenFile := filepath.Join(t.TempDir(), "t")
	if err := os.WriteFile(tokenFile, []byte("from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		o    Override
		want Context
	}{
		{Override{}, Context{Address: "127.0.0.1:1", Token: "a", CA: "/ca"}},
		{Override{Context: "team"}, Context{Address: "team:1", Token: "b"}},
		{Override{Token: "x"}, Context{Address: "127.0.0.1:1", Token: "x", CA: "/ca"}},
		{Override{Address: "other:1", TokenFile: tokenFile}, Context{Address: "other:1", Token: "from-file"}},
		{Override{Address: "other:1"}, Context{Address: "other:1"}},
	}
	for _, tt := range tests {
		if got, err := Resolve(path, tt.o); err != nil || got != tt.want {
			t.Errorf("%+v: %+v %v, want %+v", tt.o, got, err, tt.want)
		}
	}
	if _, err := Resolve(path, Override{Context: "nope"}); !errors.Is(err, ErrNoContext) || !strings.Contains(err.Error(), "dev, team") {
		t.Errorf("unknown context: %v", err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil {
		t.Error("a readable token file was accepted")
	}
	if err := os.WriteFile(path, []byte("current: x\ncontext: {}\n"), 0o600); err != nil || os.Chmod(path, 0o600) != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil {
		t.Error("an unknown key was accepted")
	}
}
