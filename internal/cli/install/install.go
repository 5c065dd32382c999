// Package install makes an agent a service of this host: what files that takes, and writing them so that doing it again
// changes nothing.
package install

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"go.yaml.in/yaml/v3"

	"github.com/slipway-ci/slipway/internal/cli/agentconf"
	"github.com/slipway-ci/slipway/internal/cli/settings"
)

// Where things go, below the root.
const (
	UnitPath   = "/etc/systemd/system/slipway-agent.service"
	ConfigPath = "/etc/slipway/agent.yaml"
	TokenPath  = "/etc/slipway/join-token"
	CAPath     = "/etc/slipway/ca.pem"
	DataDir    = "/var/lib/slipway/agent"
	RunDir     = "/run/slipway-agent"
	// Binary is where the service's executable belongs.
	Binary = "/usr/local/bin/slipway"
)

//go:embed agent.service.tmpl
var unitText string

var unitTemplate = template.Must(template.New("unit").Parse(unitText))

// Agent is what to install.
type Agent struct {
	// Binary is the absolute path of slipway, as the service will find it.
	Binary string
	// Conf is the agent's configuration; its token and CA files, data and run directory are set by Files.
	Conf agentconf.Config
	// Token and CA are contents; nil leaves what an earlier installation put there.
	Token, CA []byte
	// User that the service runs as; "" is root, which containers need.
	User string
}

// File is one file to be there. Owner is root, or the service's user where Private.
type File struct {
	Path    string
	Mode    fs.FileMode
	Content []byte
	// Private content is never shown.
	Private bool
}

// Files says what belongs where. Nothing secret is in the unit or in the configuration.
func (a Agent) Files() ([]File, error) {
	if err := a.check(); err != nil {
		return nil, err
	}
	conf := a.Conf
	conf.DataDir, conf.RunDir = DataDir, RunDir
	var files []File
	if a.Token != nil {
		conf.TokenFile = TokenPath
		files = append(files, File{Path: TokenPath, Mode: 0o600, Content: append(bytes.TrimSpace(a.Token), '\n'), Private: true})
	}
	if a.CA != nil {
		conf.CA = CAPath
		files = append(files, File{Path: CAPath, Mode: 0o644, Content: a.CA})
	}
	if err := conf.Check(); err != nil {
		return nil, err
	}
	text, err := yaml.Marshal(conf)
	if err != nil {
		return nil, fmt.Errorf("the agent's configuration: %w", err)
	}
	var unit bytes.Buffer
	err = unitTemplate.Execute(&unit, map[string]any{
		"Binary": a.Binary, "Config": ConfigPath, "User": a.User, "Process": conf.Sandbox.Kind == agentconf.Process,
	})
	if err != nil {
		return nil, fmt.Errorf("the agent's unit: %w", err)
	}
	return append(files, File{Path: ConfigPath, Mode: 0o644, Content: text}, File{Path: UnitPath, Mode: 0o644, Content: unit.Bytes()}), nil
}

func (a Agent) check() error {
	var errs []error
	// systemd reads spaces, quotes, $ and % in ExecStart in its own way (systemd.service(5)).
	if !filepath.IsAbs(a.Binary) || strings.ContainsAny(a.Binary, " \t\n\"'\\$%;") {
		errs = append(errs, fmt.Errorf("the binary's path %q: want an absolute one without blanks and special characters (--binary)", a.Binary))
	}
	for _, dir := range []string{"/home/", "/root/", "/tmp/", "/var/tmp/", "/run/"} {
		if strings.HasPrefix(a.Binary, dir) {
			errs = append(errs, fmt.Errorf("the binary is %s, and no service should depend on a file below %s: copy it to %s, or say --binary", a.Binary, dir, Binary))
		}
	}
	if strings.ContainsFunc(a.User, func(r rune) bool { return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789-_", r) }) {
		errs = append(errs, fmt.Errorf("user %q: want small letters, digits, - and _ (--user)", a.User))
	}
	if a.User != "" && a.User != "root" && a.Conf.Sandbox.Kind != agentconf.Process {
		errs = append(errs, fmt.Errorf("user %q: an agent with containers must be root; another user needs --sandbox process", a.User))
	}
	return errors.Join(errs...)
}

// Same is whether a file is there already, as it should be.
func (f File) Same(root string) (bool, error) {
	path := filepath.Join(root, f.Path)
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking at %s: %w", path, err)
	}
	if !info.Mode().IsRegular() || info.Mode().Perm() != f.Mode {
		return false, nil
	}
	old, err := os.ReadFile(path)
	if err != nil {
		return false, fmt.Errorf("looking at %s: %w", path, err)
	}
	return bytes.Equal(old, f.Content) || f.sameConfig(old), nil
}

// sameConfig keeps a configuration to which a person added only comments.
func (f File) sameConfig(old []byte) bool {
	if f.Path != ConfigPath {
		return false
	}
	var was agentconf.Config
	if yaml.Unmarshal(old, &was) != nil {
		return false
	}
	text, err := yaml.Marshal(was)
	return err == nil && bytes.Equal(text, f.Content)
}

// Write brings the files below root that are not there yet, and returns their paths. owner, if not nil, is given what only
// the service's user may read.
func Write(root string, files []File, owner func(path string) error) (written []string, err error) {
	for _, f := range files {
		same, err := f.Same(root)
		if err != nil {
			return written, err
		}
		path := filepath.Join(root, f.Path)
		if !same {
			// The directories are for everybody to read; what is private in them has a mode of its own.
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				return written, fmt.Errorf("making %s: %w", filepath.Dir(path), err)
			}
			if err := settings.WriteFile(path, f.Content, f.Mode); err != nil {
				return written, err
			}
			written = append(written, f.Path)
		}
		if f.Private && owner != nil {
			if err := owner(path); err != nil {
				return written, fmt.Errorf("giving %s to the service: %w", path, err)
			}
		}
	}
	return written, nil
}
