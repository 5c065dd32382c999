// Package embedded carries the supervisor's static binary inside slipway, so that an agent needs no second file.
package embedded

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// The directory holds a committed .gitkeep, so that this compiles before `make supervisor` has run.
//
//go:embed all:bin
var files embed.FS

// ErrMissing: this program was built without a supervisor.
var ErrMissing = errors.New("this build has no supervisor in it: run `make supervisor` and build again")

// Binary returns the supervisor's executable, or ErrMissing.
func Binary() ([]byte, error) {
	data, err := files.ReadFile("bin/supervisor")
	if err != nil || len(data) == 0 {
		return nil, ErrMissing
	}
	return data, nil
}

// Install writes the supervisor to path, executable, unless it is there already with the same content. The file is
// replaced by rename: a container that has the old one mounted keeps it.
func Install(path string) error {
	data, err := Binary()
	if err != nil {
		return err
	}
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, data) {
		return nil
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".supervisor-*")
	if err != nil {
		return fmt.Errorf("installing the supervisor: %w", err)
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Chmod(0o755), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("installing the supervisor at %s: %w", path, err)
	}
	return nil
}
