package install_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/coordinator/config"
	"github.com/slipway-ci/slipway/internal/cli/agentconf"
	"github.com/slipway-ci/slipway/internal/cli/install"
)

func agent() install.Agent {
	return install.Agent{Binary: install.Binary, Conf: agentconf.Config{Coordinator: "ci.example.org:7420"}, Token: []byte("join-secret"), CA: []byte("pem\n")}
}

func processAgent() install.Agent {
	a := agent()
	a.Conf.Sandbox.Kind, a.User = agentconf.Process, "slipway-agent"
	return a
}

func content(t *testing.T, a install.Agent, path string) string {
	t.Helper()
	files, err := a.Files()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(files, func(f install.File) bool { return f.Path == path })
	if i < 0 {
		t.Fatalf("no %s", path)
	}
	return string(files[i].Content)
}

// The file in deploy/ is what the command writes, so that neither is tested alone.
func TestTheDeployedUnitIsTheInstalledOne(t *testing.T) {
	const path = "../../../deploy/systemd/slipway-agent.service"
	want := content(t, agent(), install.UnitPath)
	if os.Getenv("UPDATE") != "" {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("%s differs from the template (UPDATE=1 go test writes it): %v", path, err)
	}
}

var execStart = regexp.MustCompile(`(?m)^ExecStart=\S+`)

// verify has systemd judge a unit. The executable and the users need not be on this host.
func verify(t *testing.T, unit string) {
	t.Helper()
	tool, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("no systemd-analyze on this host")
	}
	file := filepath.Join(t.TempDir(), "slipway-test.service")
	if err := os.WriteFile(file, []byte(execStart.ReplaceAllString(unit, "ExecStart=/bin/true")), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(tool, "verify", "--man=no", file).CombinedOutput()
	if err != nil {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		// Known from systemd 254 on; before, it is ignored.
		if strings.Contains(line, "slipway-test.service") && !strings.Contains(line, "DelegateSubgroup") {
			t.Errorf("systemd-analyze verify: %s", line)
		}
	}
}

func TestUnitsAreValid(t *testing.T) {
	coordinator, err := os.ReadFile("../../../deploy/systemd/slipway-coordinator.service")
	if err != nil {
		t.Fatal(err)
	}
	for name, unit := range map[string]string{
		"agent": content(t, agent(), install.UnitPath), "agent without containers": content(t, processAgent(), install.UnitPath), "coordinator": string(coordinator),
	} {
		t.Run(name, func(t *testing.T) {
			for _, want := range []string{"Type=notify", "WatchdogSec=", "Restart=always", "NoNewPrivileges=yes"} {
				if !strings.Contains(unit, "\n"+want) {
					t.Errorf("no %s", want)
				}
			}
			verify(t, unit)
		})
	}
}

// Directives that would give the agent a mount namespace of its own: containerd would not see the namespaces that it pins.
var ownMounts = regexp.MustCompile(`(?m)^(Protect(System|Home|KernelTunables|KernelModules|KernelLogs|ControlGroups|Hostname|Proc)|Private\w+|ReadOnlyPaths|ReadWritePaths|` +
	`InaccessiblePaths|BindPaths|TemporaryFileSystem|RootDirectory|DynamicUser|MountFlags|ProcSubset)=`)

func TestTheAgentSharesTheHostsMounts(t *testing.T) {
	unit := content(t, agent(), install.UnitPath)
	if bad := ownMounts.FindString(unit); bad != "" {
		t.Errorf("%s in the unit of an agent with containers", bad)
	}
	for _, want := range []string{"KillMode=process", "Delegate=yes", "RuntimeDirectoryPreserve=yes"} {
		if !strings.Contains(unit, want) || !strings.Contains(content(t, processAgent(), install.UnitPath), want) {
			t.Errorf("no %s: steps would not outlive the agent", want)
		}
	}
}

func TestTheExampleConfigurationIsValid(t *testing.T) {
	if _, err := config.Load("../../../deploy/systemd/coordinator.yaml"); err != nil {
		t.Error(err)
	}
}

func TestWriteTwiceChangesNothing(t *testing.T) {
	root := t.TempDir()
	files, err := agent().Files()
	if err != nil {
		t.Fatal(err)
	}
	var given []string
	owner := func(path string) error { given = append(given, path); return nil }
	first, err := install.Write(root, files, owner)
	if err != nil || len(first) != 4 || len(given) != 1 {
		t.Fatalf("%v, %v, given %v", first, err, given)
	}
	token := filepath.Join(root, install.TokenPath)
	if info, err := os.Stat(token); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the token's mode: %v, %v", info, err)
	}
	for _, f := range files {
		if !f.Private && bytes.Contains(f.Content, []byte("join-secret")) {
			t.Errorf("%s holds the token", f.Path)
		}
	}
	conf := filepath.Join(root, install.ConfigPath)
	text, err := os.ReadFile(conf)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(conf, append([]byte("# a person's note\n"), text...), 0o644); err != nil {
		t.Fatal(err)
	}
	if again, err := install.Write(root, files, nil); err != nil || len(again) != 0 {
		t.Errorf("the second time: %v, %v", again, err)
	}
	got, err := agentconf.Load(conf)
	if err != nil || got.DataDir != install.DataDir || got.TokenFile != install.TokenPath || got.CA != install.CAPath {
		t.Errorf("%+v, %v", got, err)
	}
	if err := os.Chmod(token, 0o644); err != nil {
		t.Fatal(err)
	}
	if again, err := install.Write(root, files, nil); err != nil || !slices.Equal(again, []string{install.TokenPath}) {
		t.Errorf("an open token: %v, %v", again, err)
	}
	boom := errors.New("no such user")
	if _, err := install.Write(root, files, func(string) error { return boom }); !errors.Is(err, boom) {
		t.Errorf("%v", err)
	}
}

func TestRefusals(t *testing.T) {
	for want, change := range map[string]func(*install.Agent){
		"--binary":               func(a *install.Agent) { a.Binary = "slipway" },
		"special characters":     func(a *install.Agent) { a.Binary = "/opt/a b/slipway" },
		"copy it to":             func(a *install.Agent) { a.Binary = "/home/me/slipway" },
		"--user":                 func(a *install.Agent) { a.User = "a\nb" },
		"needs --sandbox":        func(a *install.Agent) { a.User = "someone" },
		"coordinator \"\": want": func(a *install.Agent) { a.Conf.Coordinator = "" },
	} {
		a := agent()
		change(&a)
		if _, err := a.Files(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}
