package secrets

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
)

// Kind tells secrets from variables.
type Kind string

// The kinds; they name directories.
const (
	Secrets   Kind = "secrets"
	Variables Kind = "variables"
)

// Organisation is the scope of all projects; any other scope is a project's name.
const Organisation = ""

// record is the file of one name.
type record struct {
	Name string `json:"name"`
	// Versions, oldest first, without those that were dropped. The last one holds.
	Versions []version `json:"versions"`
}

// version is one value, or the removal of the one before.
type version struct {
	// Number counts the versions of the name, from 1.
	Number uint32 `json:"number"`
	// Revision is greater than that of every earlier write, of whatever name.
	Revision uint64 `json:"revision"`
	TimeMS   int64  `json:"time_ms"`
	By       string `json:"by"`
	// RequestID of the call, so that a repeat does nothing.
	RequestID string `json:"request_id"`
	Removed   bool   `json:"removed,omitempty"`
	// Sealed is a secret's value, Value a variable's.
	Sealed []byte `json:"sealed,omitempty"`
	Value  string `json:"value,omitempty"`
}

func (r *record) last() *version {
	if len(r.Versions) == 0 {
		return nil
	}
	return &r.Versions[len(r.Versions)-1]
}

// live is whether the name has a value now.
func (r *record) live() bool { return r.last() != nil && !r.last().Removed }

// at is the version that held at a revision; nil if the name had no value then. gone: it was dropped since.
func (r *record) at(revision uint64) (v *version, gone bool) {
	for i := len(r.Versions) - 1; i >= 0; i-- {
		if r.Versions[i].Revision > revision {
			continue
		}
		if r.Versions[i].Removed {
			return nil, false
		}
		return &r.Versions[i], false
	}
	return nil, len(r.Versions) > 0 && r.Versions[0].Number > 1
}

// drop forgets versions that were replaced too long ago, or are too many. It says whether there were any.
func (r *record) drop(nowMS int64) bool {
	before := len(r.Versions)
	for len(r.Versions) > 1 && (r.Versions[1].TimeMS < nowMS-KeepFor.Milliseconds() || len(r.Versions) > maxVersions) {
		r.Versions = slices.Delete(r.Versions, 0, 1)
	}
	if v := r.last(); len(r.Versions) == 1 && v.Removed && v.TimeMS < nowMS-KeepFor.Milliseconds() {
		r.Versions = nil
	}
	return len(r.Versions) < before
}

// mostDir bounds in bytes a directory that is named after its project; file systems allow 255.
const mostDir = 200

func (s *Store) scopeDir(k Kind, scope string) string {
	name := "project-" + url.PathEscape(scope)
	switch {
	case scope == Organisation:
		name = "organisation"
	case len(name) > mostDir:
		name = fmt.Sprintf("long-%x", sha256.Sum256([]byte(scope)))
	}
	return filepath.Join(s.dir, string(k), name)
}

// read returns an empty record for a name that has no file.
func read(dir, name string) (*record, error) {
	r, path := &record{Name: name}, filepath.Join(dir, name)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(data, r)
	}
	if err == nil && r.Name != name {
		err = errors.New("it is of another name")
	}
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	return r, nil
}

// readAll returns the records of a scope, by name.
func readAll(dir string) ([]*record, error) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []*record
	for _, e := range entries {
		if checkName(e.Name()) != nil {
			continue // what an interrupted write left
		}
		r, err := read(dir, e.Name())
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

// write makes a record durable, or forgets one without versions.
func (s *Store) write(dir string, r *record) error {
	path := filepath.Join(dir, r.Name)
	if len(r.Versions) == 0 {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return syncDir(dir)
	}
	data, err := json.Marshal(r)
	if err != nil {
		return fmt.Errorf("encoding %s: %w", path, err)
	}
	if err := s.makeDir(dir); err != nil {
		return err
	}
	return writeFile(path, data)
}

// makeDir makes a directory of a kind's, durably.
func (s *Store) makeDir(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for at := dir; at != s.dir; at = filepath.Dir(at) {
		if err := syncDir(filepath.Dir(at)); err != nil {
			return err
		}
	}
	return nil
}

// writeFile makes a file of mode 0600 whole or not at all, durably.
func writeFile(path string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return fmt.Errorf("making a file beside %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("making %s durable: %w", dir, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("making %s durable: %w", dir, err)
	}
	return nil
}
