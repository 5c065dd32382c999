// Package workspace is the directories of an attempt on this host.
//
//	DATA/attempts/ID/          mode 0700, so that nothing of a job is reachable by others on the host
//	  workspace/ home/ temp/   mounted into the job, written by its steps
//	  workflow/                event.json, mounted read-only
//	  logs/                    raw output of the steps; never mounted
//	RUN/attempts/ID/           on a tmpfs: nothing of it reaches a disk
//	  commands/                scripts and file commands, mounted
//	  private/                 token, masks, environment, outputs; never mounted
//
// Whatever a container could have written is opened beneath its root, following no link outside.
package workspace

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Paths inside the job container.
const (
	ContainerWorkspace = "/github/workspace"
	ContainerHome      = "/github/home"
	ContainerTemp      = "/github/runner_temp"
	ContainerCommands  = "/github/file_commands"
	ContainerWorkflow  = "/github/workflow"
	// ContainerToolCache is part of the image.
	ContainerToolCache = "/opt/hostedtoolcache"
)

// Paths are an attempt's directories as its steps see them.
type Paths struct {
	Workspace, Home, Temp, Commands, Workflow string
	// ToolCache is where setup actions find tools; not of the attempt alone.
	ToolCache string
}

// ContainerPaths are where a job container has them mounted.
func ContainerPaths() Paths {
	return Paths{
		Workspace: ContainerWorkspace, Home: ContainerHome, Temp: ContainerTemp, Commands: ContainerCommands, Workflow: ContainerWorkflow,
		ToolCache: ContainerToolCache,
	}
}

// HostPaths are the directories themselves, for steps that run without a container.
func (d Dirs) HostPaths(toolCache string) Paths {
	return Paths{
		Workspace: d.Workspace, Home: d.Home, Temp: d.Temp, Commands: d.Commands, Workflow: d.Workflow, ToolCache: toolCache,
	}
}

// Layout knows where attempts live. The zero value is not usable.
type Layout struct{ data, run string }

// NewLayout makes the two top directories with mode 0700. run is where secrets lie: see RunDir.
func NewLayout(data, run string) (*Layout, error) {
	for _, d := range []string{filepath.Join(data, "attempts"), filepath.Join(run, "attempts")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("workspace: make %s: %w", d, err)
		}
	}
	return &Layout{data: data, run: run}, nil
}

// RunDir proposes a directory on a tmpfs for an agent whose data lie in dataDir: the same one at every start. ok is
// false if this host has none; then it is below dataDir.
func RunDir(dataDir string) (dir string, ok bool) {
	sum := sha256.Sum256([]byte(dataDir))
	name := "slipway-agent-" + hex.EncodeToString(sum[:6])
	for _, parent := range []string{"/run", "/dev/shm"} {
		if IsTmpfs(parent) {
			return filepath.Join(parent, name), true
		}
	}
	return filepath.Join(dataDir, "run"), false
}

// IsTmpfs says whether what is written beneath dir stays in memory.
func IsTmpfs(dir string) bool {
	var st unix.Statfs_t
	return unix.Statfs(dir, &st) == nil && st.Type == unix.TMPFS_MAGIC
}

// DiskFree returns the bytes that attempts may still write; 0 if the file system does not say.
func (l *Layout) DiskFree() int64 {
	var st unix.Statfs_t
	if err := unix.Statfs(l.data, &st); err != nil {
		return 0
	}
	return int64(st.Bavail) * st.Bsize
}

// Dirs are the directories of one attempt, as host paths.
type Dirs struct {
	Workspace, Home, Temp, Workflow, Logs string
	Commands, Private                     string

	data, run string
}

// Attempt returns the directories of an attempt; they need not exist.
func (l *Layout) Attempt(id string) (Dirs, error) {
	if id == "" || id != filepath.Base(id) || strings.HasPrefix(id, ".") {
		return Dirs{}, fmt.Errorf("workspace: %q can't be an attempt's id", id)
	}
	data, run := filepath.Join(l.data, "attempts", id), filepath.Join(l.run, "attempts", id)
	in := func(d string) string { return filepath.Join(data, d) }
	return Dirs{
		Workspace: in("workspace"), Home: in("home"), Temp: in("temp"), Workflow: in("workflow"), Logs: in("logs"),
		Commands: filepath.Join(run, "commands"), Private: filepath.Join(run, "private"),
		data: data, run: run,
	}, nil
}

// Make creates what is missing. What is mounted is open to every user inside the container; the directory above it is
// closed to every other user of the host.
func (d Dirs) Make() error {
	for _, top := range []string{d.data, d.run, d.Logs, d.Private} {
		if err := os.MkdirAll(top, 0o700); err != nil {
			return fmt.Errorf("workspace: %w", err)
		}
	}
	for _, open := range []string{d.Workspace, d.Home, d.Temp, d.Commands, d.Workflow} {
		if err := os.MkdirAll(open, 0o777); err != nil {
			return fmt.Errorf("workspace: %w", err)
		}
		if err := os.Chmod(open, 0o777); err != nil {
			return fmt.Errorf("workspace: %w", err)
		}
	}
	return nil
}

// Remove deletes everything of the attempt. Nil when there is nothing.
func (d Dirs) Remove() error {
	// os.RemoveAll works from directory descriptors and follows no link.
	return errors.Join(os.RemoveAll(d.data), os.RemoveAll(d.run))
}

// RemoveMounted deletes what only the job's containers needed: most of what a job takes of the disk.
func (d Dirs) RemoveMounted() error {
	var errs []error
	for _, dir := range []string{d.Workspace, d.Home, d.Temp, d.Workflow, d.Commands} {
		errs = append(errs, os.RemoveAll(dir))
	}
	return errors.Join(errs...)
}

// Others returns the attempts that have directories but are not in keep.
func (l *Layout) Others(keep map[string]bool) ([]string, error) {
	seen := map[string]bool{}
	var ids []string
	for _, top := range []string{l.data, l.run} {
		entries, err := os.ReadDir(filepath.Join(top, "attempts"))
		if err != nil {
			return nil, fmt.Errorf("workspace: %w", err)
		}
		for _, e := range entries {
			if !keep[e.Name()] && !seen[e.Name()] {
				seen[e.Name()] = true
				ids = append(ids, e.Name())
			}
		}
	}
	return ids, nil
}

// LogPath is the raw output of a step, on the host.
func (d Dirs) LogPath(step uint32) string { return filepath.Join(d.Logs, fmt.Sprintf("%d.raw", step)) }

// ErrNotRegular: what should be a file is a link, a pipe, a device or a directory.
var ErrNotRegular = errors.New("workspace: not a regular file")

// OpenRegular opens a file that a step may have made, beneath root. A pipe does not block it.
func OpenRegular(root *os.Root, name string) (*os.File, fs.FileInfo, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s: %w", name, ErrNotRegular)
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

// ReadLimited reads a file that a step may have made, beneath root; longer than limit bytes is an error. A file that is
// not there is empty.
func ReadLimited(root *os.Root, name string, limit int64) ([]byte, error) {
	f, _, err := OpenRegular(root, name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s is larger than the %d MiB allowed", filepath.Base(name), limit>>20)
	}
	return data, nil
}

// WritePrivate keeps a value in the attempt's private directory, atomically.
func (d Dirs) WritePrivate(name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("workspace: %s: %w", name, err)
	}
	path := filepath.Join(d.Private, name)
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return fmt.Errorf("workspace: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("workspace: %w", err)
	}
	return nil
}

// ReadPrivate reads what WritePrivate kept; the error wraps fs.ErrNotExist if it did not.
func (d Dirs) ReadPrivate(name string, v any) error {
	data, err := os.ReadFile(filepath.Join(d.Private, name))
	if err != nil {
		return fmt.Errorf("workspace: %w", err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("workspace: %s: %w", name, err)
	}
	return nil
}
