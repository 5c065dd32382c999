package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/agent/sandbox/procid"
	"github.com/slipway-ci/slipway/agent/supervisor/proto"
)

// podState is pod.json: what is needed to re-attach to a pod, or to remove what was made of it.
type podState struct {
	Version int       `json:"version"`
	ID      string    `json:"id"`
	Created time.Time `json:"created"`
	// Group is the pod's control group; "" if it has none.
	Group string `json:"group,omitempty"`
	// Init is the supervisor; set once the pod is complete: Start works.
	Init procid.ID `json:"init"`
}

const stateVersion = 1

// podDir is one pod's directory.
type podDir string

func (d podDir) state() string             { return filepath.Join(string(d), "pod.json") }
func (d podDir) run() string               { return filepath.Join(string(d), "run") }
func (d podDir) log() string               { return filepath.Join(string(d), "log", "supervisor.log") }
func (d podDir) request(id string) string  { return filepath.Join(string(d), "steps", id+".asked") }
func (d podDir) exitFile(id string) string { return filepath.Join(string(d), "steps", id+".exit") }

// make creates the directories; fs.ErrExist if the pod has one already.
func (d podDir) make() error {
	for _, dir := range []string{"", "run", "log", "steps"} {
		if err := os.Mkdir(filepath.Join(string(d), dir), 0o700); err != nil {
			return err
		}
	}
	return nil
}

func (d podDir) save(s podState) error {
	s.Version = stateVersion
	return writeJSON(d.state(), s)
}

// load returns sandbox.ErrNotFound if there is no state file.
func (d podDir) load() (podState, error) {
	var s podState
	err := readJSON(d.state(), &s)
	if errors.Is(err, fs.ErrNotExist) {
		return s, sandbox.ErrNotFound
	}
	if err == nil && s.Version > stateVersion {
		err = fmt.Errorf("%s was written by a newer version (%d, this is %d)", d.state(), s.Version, stateVersion)
	}
	return s, err
}

// ask notes that a step was asked for. A step that is neither known to the supervisor nor recorded was never started.
func (d podDir) ask(id string) error {
	if err := os.WriteFile(d.request(id), nil, 0o600); err != nil {
		return fmt.Errorf("noting step %s: %w", id, err)
	}
	return nil
}

// asked is whether a step was.
func (d podDir) asked(id string) bool {
	_, err := os.Stat(d.request(id))
	return err == nil
}

// record reads a step's exit record; proto.ErrNoRecord while there is none.
func (d podDir) record(id string) (proto.Record, error) {
	data, err := os.ReadFile(d.exitFile(id))
	if errors.Is(err, fs.ErrNotExist) {
		return proto.Record{}, proto.ErrNoRecord
	}
	if err != nil {
		return proto.Record{}, fmt.Errorf("reading the exit record of step %s: %w", id, err)
	}
	return proto.DecodeRecord(data)
}

// writeJSON replaces a file as a whole.
func writeJSON(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encoding %s: %w", path, err)
	}
	tmp := path + ".tmp"
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return fmt.Errorf("writing state: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return fmt.Errorf("writing state: %w", err)
	}
	return nil
}

func readJSON(path string, v any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("reading %s: %w", path, err)
	}
	return nil
}
