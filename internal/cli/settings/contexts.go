package settings

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/slipway-ci/slipway/internal/cli/strictyaml"
)

// ErrNoContext: nothing says where the coordinator is.
var ErrNoContext = errors.New("no coordinator is configured")

// Context is one coordinator as the CLI knows it.
type Context struct {
	// Address is host:port.
	Address string `yaml:"address"`
	// CA is the path of the coordinator's CA certificate; "" if the token's pin suffices.
	CA string `yaml:"ca,omitempty"`
	// Token is the user's.
	Token string `yaml:"token"`
	// Project that runs belong to; "" is the coordinator's default.
	Project string `yaml:"project,omitempty"`
}

// File is the context file.
type File struct {
	Current  string             `yaml:"current"`
	Contexts map[string]Context `yaml:"contexts"`
}

// ContextFile is the path of the context file.
func (d Dirs) ContextFile() string { return filepath.Join(d.Config, "contexts.yaml") }

// Load reads the context file; a missing one is empty. A file that others may read is refused: it holds tokens.
func Load(path string) (*File, error) {
	f := &File{Contexts: map[string]Context{}}
	src, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the context file: %w", err)
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s holds tokens and others may read it (mode %04o): run `chmod 600 %s`", path, info.Mode().Perm(), path)
	}
	if err := strictyaml.Decode(path, src, f); err != nil {
		return nil, err
	}
	if f.Contexts == nil {
		f.Contexts = map[string]Context{}
	}
	return f, nil
}

// Save writes the file with mode 0600, whole or not at all.
func (f *File) Save(path string) error {
	out, err := yaml.Marshal(f)
	if err != nil {
		return fmt.Errorf("writing the context file: %w", err)
	}
	return WriteFile(path, out, 0o600)
}

// WriteFile replaces a file whole or not at all, and makes its directory (0700).
func WriteFile(path string, content []byte, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(content)
	if err == nil {
		err = tmp.Chmod(mode)
	}
	if err == nil {
		err = tmp.Sync()
	}
	if closeErr := tmp.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return nil
}

// Get returns a context by name; "" is the current one, or the only one.
func (f *File) Get(name string) (Context, error) {
	if name == "" {
		name = f.Current
	}
	if name == "" && len(f.Contexts) == 1 {
		for _, c := range f.Contexts {
			return c, nil
		}
	}
	if name == "" {
		return Context{}, ErrNoContext
	}
	c, ok := f.Contexts[name]
	if !ok {
		known := "there is none"
		if names := f.names(); len(names) > 0 {
			known = "known: " + strings.Join(names, ", ")
		}
		return Context{}, fmt.Errorf("%w under the name %q (%s)", ErrNoContext, name, known)
	}
	return c, nil
}

// Put stores a context, and makes it the current one if there is none.
func (f *File) Put(name string, c Context) {
	f.Contexts[name] = c
	if f.Current == "" {
		f.Current = name
	}
}

func (f *File) names() []string {
	var out []string
	for n := range f.Contexts {
		out = append(out, n)
	}
	slices.Sort(out)
	return out
}

// Override is what flags and the environment say; empty fields say nothing.
type Override struct{ Context, Address, CA, Token, TokenFile string }

// Resolve is the coordinator to call. An address from a flag or the environment needs no context file.
func Resolve(path string, o Override) (Context, error) {
	var c Context
	if o.Address == "" || o.Context != "" || o.Token == "" && o.TokenFile == "" {
		f, err := Load(path)
		if err != nil {
			return Context{}, err
		}
		if c, err = f.Get(o.Context); err != nil && (o.Address == "" || o.Context != "") {
			return Context{}, err
		}
	}
	if o.Address != "" && o.Address != c.Address {
		// Another coordinator: the context's token and CA are not for it.
		c = Context{Address: o.Address, Project: c.Project}
	}
	if o.CA != "" {
		c.CA = o.CA
	}
	if o.Token != "" {
		c.Token = o.Token
	}
	if o.TokenFile != "" {
		secret, err := os.ReadFile(o.TokenFile)
		if err != nil {
			return Context{}, fmt.Errorf("the token file can't be read: %w", err)
		}
		if c.Token = strings.TrimSpace(string(secret)); c.Token == "" {
			return Context{}, fmt.Errorf("the token file %s is empty; `slipway tokens create` prints what belongs there", o.TokenFile)
		}
	}
	return c, nil
}
