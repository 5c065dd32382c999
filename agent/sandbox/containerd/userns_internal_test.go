package containerd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
)

func TestRangesOfOthersAreNotTaken(t *testing.T) {
	u := UserIDs{First: 1 << 20, Pods: 2}
	for line, clash := range map[string]bool{
		"alice:100000:65536": false, "alice:1048575:1": false, "alice:1048575:2": true, "alice:1179647:1": true, "alice:1179648:65536": false,
		"alice:1000000:9000000": true, "slipway:1048576:131072": false, "# alice:1048576:1": false, "alice:x:y": false, "": false,
	} {
		file := filepath.Join(t.TempDir(), "subuid")
		if err := os.WriteFile(file, []byte("bob:1:1\n"+line+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := u.disjoint(file); (err != nil) != clash || clash && !strings.Contains(err.Error(), "alice") {
			t.Errorf("%q: %v", line, err)
		}
	}
	if err := u.disjoint("/no/such/file"); err != nil {
		t.Error(err)
	}
	for _, bad := range []UserIDs{{First: 1, Pods: 1}, {First: 1<<31 - 1, Pods: 1}, {First: 1 << 20, Pods: 1 << 20}, {First: 1 << 20, Pods: -1}} {
		if bad.complete() == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}

func TestRuntimesAreChecked(t *testing.T) {
	for _, bad := range []Runtime{{}, {Path: "/x", Type: "io.containerd.x.v1"}, {Path: "./x"}, {Type: "runsc"}, {Type: "../x.v1"}} {
		if (&Config{Runtimes: map[string]Runtime{"r": bad}}).checkRuntimes() == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
	if got := knownRuntimes["runsc"].program() + knownRuntimes["kata"].program(); got != "containerd-shim-runsc-v1containerd-shim-kata-v2" {
		t.Error(got)
	}
	file := filepath.Join(t.TempDir(), "broken")
	if err := os.WriteFile(file, []byte("#!/bin/sh\nexit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := (Runtime{Path: file}).find(); err == nil || !strings.Contains(err.Error(), "--version") {
		t.Errorf("a runtime that does not run: %v", err)
	}
}

func TestOnlyWritableOverlaysCanBeMapped(t *testing.T) {
	good := []string{"workdir=/w", "upperdir=/u", "lowerdir=/a:/b", "index=off"}
	o, err := parseOverlay([]mount.Mount{{Type: "overlay", Options: good}})
	if err != nil || len(o.lower) != 2 || o.upper != "/u" || o.work != "/w" || len(o.others) != 1 {
		t.Errorf("%+v %v", o, err)
	}
	for _, bad := range [][]mount.Mount{
		nil, {{Type: "bind"}}, {{Type: "overlay", Options: good[2:]}}, {{Type: "overlay", Options: append(good, "uidmap=0:1:2")}},
	} {
		if _, err := parseOverlay(bad); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}

// TestWhatIsMountedIsNotDeleted: a file with content beneath the directory of mounts means that something is mounted still.
func TestWhatIsMountedIsNotDeleted(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "m")
	if err := os.MkdirAll(filepath.Join(dir, "mount0"), 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "mount0", "precious")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := removeEmpty(dir); err == nil {
		t.Error("it was removed")
	}
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
	if err := os.Truncate(file, 0); err != nil {
		t.Fatal(err)
	}
	if err := removeEmpty(dir); err != nil {
		t.Error(err)
	}
}
