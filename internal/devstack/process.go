package devstack

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-ci/slipway/internal/cli/settings"
)

// Process is one that a stack keeps running.
type Process struct {
	// Name is unique in the stack, safe in file names.
	Name string
	// Argv[0] is an absolute path.
	Argv []string
	// Launch, if set, is used instead of Argv, Env and Log: it starts a process that reaps itself, or finds the running
	// one, and returns its pid.
	Launch func(context.Context) (pid int, err error)
	// Env is added to the supervisor's own.
	Env []string
	// Log is the file that stdout and stderr are appended to.
	Log string
	// Fingerprint stands for what the process read at its start, e.g. its configuration. A running process with another
	// one is replaced rather than adopted.
	Fingerprint string
	// Prepare runs before each start; may be nil.
	Prepare func(context.Context) error
	// Ready returns nil once the process does its work; asked again until then. May be nil.
	Ready func(context.Context) error
	// Grace is the time from TERM to KILL; 0 is 10 s.
	Grace time.Duration
	// Stop is the signal in place of TERM; 0 is TERM.
	Stop syscall.Signal
}

// record is the content of a pid file.
type record struct {
	identity
	Argv        []string `json:"argv"`
	Fingerprint string   `json:"fingerprint,omitempty"`
}

// running is a process that was started or adopted.
type running struct {
	identity
	pidfd int
	// cmd is nil for an adopted process, which is not our child.
	cmd *exec.Cmd
}

func (s *Stack) pidFile(name string) string { return filepath.Join(s.Dir, name+".json") }

func readRecord(path string) (record, error) {
	var r record
	b, err := os.ReadFile(path)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(b, &r); err != nil {
		return r, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}

func writeRecord(path string, r record) error {
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return settings.WriteFile(path, append(b, '\n'), 0o600)
}

// start begins a process.
func (s *Stack) start(ctx context.Context, p Process) (*running, error) {
	if p.Launch == nil {
		return s.exec(p)
	}
	pid, err := p.Launch(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: starting: %w", p.Name, err)
	}
	id, err := identify(pid)
	if err != nil {
		return nil, fmt.Errorf("%s (pid %d) ended at once: %w", p.Name, pid, err)
	}
	if err := writeRecord(s.pidFile(p.Name), record{id, nil, p.Fingerprint}); err != nil {
		return nil, fmt.Errorf("%s: %w", p.Name, err)
	}
	r, err := open(id)
	if err == nil && r == nil {
		err = fmt.Errorf("%s (pid %d) ended at once", p.Name, pid)
	}
	return r, err
}

// exec starts Argv in a session of its own.
func (s *Stack) exec(p Process) (*running, error) {
	log, err := os.OpenFile(p.Log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%s: opening its log: %w", p.Name, err)
	}
	defer log.Close()
	// It outlives the supervisor: no context may end it.
	cmd := exec.CommandContext(context.Background(), p.Argv[0], p.Argv[1:]...)
	cmd.Env = append(append(os.Environ(), p.Env...), marker+"="+s.Dir+":"+p.Name)
	cmd.Dir = "/"
	cmd.Stdout, cmd.Stderr = log, log
	pidfd := -1
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, PidFD: &pidfd}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: starting: %w", p.Name, err)
	}
	if pidfd < 0 {
		err := errors.New("the kernel has no pidfd; Linux 5.4 or newer is needed")
		return nil, errors.Join(fmt.Errorf("%s: %w", p.Name, err), cmd.Process.Kill(), cmd.Wait())
	}
	r := &running{pidfd: pidfd, cmd: cmd}
	// A child that has ended already is a zombie until Wait: it has an identity no more, and needs none.
	if r.identity, err = identify(cmd.Process.Pid); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return nil, errors.Join(fmt.Errorf("%s: %w", p.Name, err), cmd.Process.Kill(), cmd.Wait())
	}
	r.PID = cmd.Process.Pid
	if err := writeRecord(s.pidFile(p.Name), record{r.identity, p.Argv, p.Fingerprint}); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", p.Name, err), cmd.Process.Kill(), cmd.Wait())
	}
	return r, nil
}

// find returns the live process of a name, whether or not it is the one that is wanted now; nil if none runs.
func (s *Stack) find(p Process) (r *running, same bool, err error) {
	rec, err := readRecord(s.pidFile(p.Name))
	if err == nil && rec.alive() {
		r, err := open(rec.identity)
		same := r != nil && rec.Fingerprint == p.Fingerprint && (p.Launch != nil || slices.Equal(rec.Argv, p.Argv) && sameBinary(rec.PID, p.Argv[0]))
		return r, same, err
	}
	if p.Launch != nil {
		return nil, false, nil
	}
	// No pid file, or a stale one: a supervisor may have been killed between starting and writing.
	all, err := marked(s.Dir)
	if err != nil {
		return nil, false, fmt.Errorf("%s: looking for a running one: %w", p.Name, err)
	}
	for _, pid := range all[p.Name] {
		if !hasArgv(pid, p.Argv) {
			continue
		}
		id, err := identify(pid)
		if err != nil {
			continue
		}
		r, err := open(id)
		// What it read at its start is unknown: it is replaced where that matters.
		return r, r != nil && p.Fingerprint == "" && sameBinary(pid, p.Argv[0]), err
	}
	return nil, false, nil
}

// open takes hold of a live process; nil if it ended meanwhile.
func open(id identity) (*running, error) {
	fd, err := unix.PidfdOpen(id.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("pid %d: %w", id.PID, err)
	}
	// The pid may have changed hands before the descriptor was there.
	if !id.alive() {
		return nil, unix.Close(fd)
	}
	return &running{identity: id, pidfd: fd}, nil
}

// wait returns once the process ended, or with ctx's error.
func (r *running) wait(ctx context.Context) error {
	for {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(r.pidfd), Events: unix.POLLIN}}, 100)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("pid %d: %w", r.PID, err)
		}
		if n > 0 {
			return nil
		}
	}
}

// release lets go of an ended process, and returns how it ended where that is known.
func (r *running) release() string {
	how := "ended"
	if r.cmd != nil {
		if err := r.cmd.Wait(); err != nil {
			how = err.Error()
		} else {
			how = "exit status 0"
		}
	}
	// Nothing depends on the descriptor any more.
	_ = unix.Close(r.pidfd)
	return how
}

func (r *running) signal(sig syscall.Signal) error {
	err := unix.PidfdSendSignal(r.pidfd, sig, nil, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

// stop ends the process: sig, or TERM if it is 0, after grace KILL. It returns once it is gone.
func (r *running) stop(grace time.Duration, sig syscall.Signal) error {
	if sig == 0 {
		sig = unix.SIGTERM
	}
	if grace == 0 {
		grace = 10 * time.Second
	}
	if err := r.signal(sig); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	err := r.wait(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		if err := r.signal(unix.SIGKILL); err != nil {
			return err
		}
		err = r.wait(context.Background())
	}
	if err == nil {
		r.release()
	}
	return err
}
