package containerd

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
	// Name of its containers and its control group; "" is ID. A pod that was made ahead keeps the one that it was made with.
	Name string `json:"name,omitempty"`
	// Namespace is the network namespace's name.
	Namespace string `json:"network_namespace,omitempty"`
	// Init is set once the pod is complete: Start works.
	Init procid.ID `json:"init"`
	// Shim is the parent of all the pod's containers.
	Shim procid.ID `json:"shim"`
	// Services in the order of the spec.
	Services []serviceState `json:"services,omitempty"`
	// Writable are the host's directories that steps write to.
	Writable []writable `json:"writable,omitempty"`
	// IDs is its range of user ids, if it has a user namespace.
	IDs idMap `json:"ids,omitzero"`
}

func (s podState) name() string { return or(s.Name, s.ID) }

// serviceState is a service that had become healthy.
type serviceState struct {
	Name string `json:"name"`
	// Container is its name in the pod: svc0, svc1 …
	Container string    `json:"container"`
	Init      procid.ID `json:"init"`
}

type writable struct {
	Source string `json:"source"`
	Target string `json:"target"`
	// Host: not only the pod has written there.
	Host bool `json:"host,omitempty"`
}

const stateVersion = 1

// podDir is one pod's directory.
type podDir string

func (d podDir) state() string             { return filepath.Join(string(d), "pod.json") }
func (d podDir) run() string               { return filepath.Join(string(d), "run") }
func (d podDir) etc(name string) string    { return filepath.Join(string(d), "etc", name) }
func (d podDir) volume(name string) string { return filepath.Join(string(d), "volumes", name) }
func (d podDir) annexes() string           { return filepath.Join(string(d), "annexes.json") }
func (d podDir) annex(i int) string        { return filepath.Join(string(d), annexName(i)+".json") }
func (d podDir) log(name string) string    { return filepath.Join(string(d), "log", name+".log") }
func (d podDir) request(id string) string  { return filepath.Join(string(d), "steps", id+".json") }
func (d podDir) environ(name string) string {
	return filepath.Join(string(d), "steps", name+".environ")
}
func (d podDir) exitFile(id string) string { return filepath.Join(string(d), "steps", id+".exit") }

// make creates the directories; fs.ErrExist if the pod has one already. The steps' is a link to one in stepsDir, if there is
// such: records of steps are of use only as long as their container lives, so that they need no disk, on which to make and
// delete three small files for each step costs more than all else that is done for it.
func (d podDir) make(stepsDir string) error {
	if err := os.Mkdir(string(d), 0o700); err != nil {
		return err
	}
	for _, sub := range []string{"run", "etc", "log"} {
		if err := os.Mkdir(filepath.Join(string(d), sub), 0o755); err != nil {
			return err
		}
	}
	steps := filepath.Join(string(d), "steps")
	if stepsDir == "" {
		return os.Mkdir(steps, 0o755)
	}
	target := filepath.Join(stepsDir, filepath.Base(string(d)))
	if err := os.Symlink(target, steps); err != nil { // first, so that who removes the pod finds the directory
		return err
	}
	if err := errors.Join(os.RemoveAll(target), os.Mkdir(target, 0o700)); err != nil {
		return fmt.Errorf("records of steps: %w", err)
	}
	return nil
}

// remove deletes the directories.
func (d podDir) remove() error {
	if target, err := os.Readlink(filepath.Join(string(d), "steps")); err == nil {
		if err := os.RemoveAll(target); err != nil {
			return err
		}
	}
	return os.RemoveAll(string(d))
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

// request says that a step was asked for.
type request struct {
	// OOMKills of the job's control group when it was.
	OOMKills int64 `json:"oom_kills"`
	// Output is the file on this host that the step writes to.
	Output string `json:"output,omitempty"`
	// Box is the container in which it runs; "" is the job's.
	Box string `json:"box,omitempty"`
	// OOM is whether more came while it ran; set when its end was first seen.
	OOM *bool `json:"oom,omitempty"`
	// Seen is what was found around the step when its failure was first seen.
	Seen *surroundings `json:"seen,omitempty"`
}

// surroundings explain a failure: what was wrong with the pod, not with the step.
type surroundings struct {
	Disks    []sandbox.DiskFault  `json:"disks,omitempty"`
	Written  int64                `json:"written,omitempty"`
	Services []sandbox.ServiceEnd `json:"services,omitempty"`
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
