package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

// mirror is a second copy of every record, as files on a tmpfs. It lasts as long as the pods do, that is until the host's next boot, and
// neither a full disk nor a damaged database touches it. A nil mirror keeps nothing.
type mirror struct{ dir string }

const (
	assignmentSuffix = ".assignment"
	progressSuffix   = ".progress"
	// originFile says which boot and which schema the files are of.
	originFile = "origin"
)

// openMirror takes over what an earlier process of this boot left; what is of another boot, or of a newer schema, is not for this process.
func openMirror(dir, boot string) (*mirror, error) {
	if dir == "" {
		return nil, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("state: the copy in memory: %w", err)
	}
	m, origin := &mirror{dir}, strconv.Itoa(Schema)+" "+boot
	found, err := os.ReadFile(filepath.Join(dir, originFile))
	if err == nil && string(found) == origin {
		return m, nil
	}
	if schema, _, _ := strings.Cut(string(found), " "); err == nil {
		if n, err := strconv.Atoi(schema); err == nil && n > Schema && strings.HasSuffix(string(found), " "+boot) {
			return nil, fmt.Errorf("%w: %s has schema %d, this agent knows %d", ErrSchema, dir, n, Schema)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("state: the copy in memory: %w", err)
	}
	for _, f := range left {
		if err := os.Remove(filepath.Join(dir, f.Name())); err != nil {
			return nil, fmt.Errorf("state: the copy in memory: %w", err)
		}
	}
	return m, m.write(originFile, []byte(origin))
}

// write replaces a file, or leaves it as it was.
func (m *mirror) write(name string, data []byte) error {
	path := filepath.Join(m.dir, name)
	temp := path + ".new"
	err := os.WriteFile(temp, data, 0o600)
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("state: the copy in memory: %w", err), ignoreGone(os.Remove(temp)))
	}
	return nil
}

func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func (m *mirror) create(id string, assignment, progress []byte) error {
	if m == nil {
		return nil
	}
	// The progress first: a record is there once its assignment is.
	return errors.Join(m.write(id+progressSuffix, progress), m.write(id+assignmentSuffix, assignment))
}

func (m *mirror) save(id string, progress []byte) error {
	if m == nil {
		return errNoMirror
	}
	return m.write(id+progressSuffix, progress)
}

var errNoMirror = errors.New("state: there is no copy in memory")

func (m *mirror) remove(id string) error {
	if m == nil {
		return nil
	}
	return errors.Join(ignoreGone(os.Remove(filepath.Join(m.dir, id+assignmentSuffix))), ignoreGone(os.Remove(filepath.Join(m.dir, id+progressSuffix))))
}

// load returns every whole record; what is not whole was never promised to anybody.
func (m *mirror) load() (map[string]*Record, error) {
	out := map[string]*Record{}
	if m == nil {
		return out, nil
	}
	files, err := filepath.Glob(filepath.Join(m.dir, "*"+assignmentSuffix))
	if err != nil {
		return nil, err
	}
	for _, path := range files {
		id := strings.TrimSuffix(filepath.Base(path), assignmentSuffix)
		r := &Record{Assignment: &fleetv1.Assignment{}, Progress: &Progress{}, Acked: map[uint32]Ack{}}
		assignment, err := os.ReadFile(path)
		if err == nil {
			err = proto.Unmarshal(assignment, r.Assignment)
		}
		progress, perr := os.ReadFile(filepath.Join(m.dir, id+progressSuffix))
		if perr == nil {
			perr = json.Unmarshal(progress, r.Progress)
		}
		if err = errors.Join(err, perr); err != nil {
			return nil, fmt.Errorf("state: the copy in memory of attempt %s: %w", id, err)
		}
		out[id] = r
	}
	return out, nil
}

// merge takes the newer of two memories of each attempt.
func merge(disk, memory map[string]*Record) map[string]*Record {
	for id, r := range memory {
		if d := disk[id]; d == nil {
			disk[id] = r
		} else if r.Progress.Seq > d.Progress.Seq {
			d.Progress = r.Progress
		}
	}
	return disk
}
