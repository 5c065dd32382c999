package supervisor

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/slipway-ci/slipway/agent/supervisor/proto"
)

// Exit codes of a command that could not be run, as shells have them (POSIX, "Exit Status for Commands").
const (
	codeNotExecutable = 126
	codeNotFound      = 127
)

// step is one started process and what it leads.
type step struct {
	id      string
	pid     int
	began   time.Time
	file    *os.File // the exit record's
	older   map[int]bool
	timeout *time.Timer
	grace   time.Duration
	group   *group // nil: the step shares the supervisor's

	exited   *syscall.WaitStatus // of the leader
	stopping bool
	killAt   time.Time
	killed   bool // something outlived the grace
	frozen   bool // no fork succeeds any more
	// forksRefused is what was counted before.
	forksRefused int64
	timedOut     bool
	lapsed       bool
	console      proto.Console
	swept        bool          // its leader has ended, and what it left is being ended
	record       *proto.Record // set once, when the step has ended
}

// launch starts a step's process and registers it. Called with mu held, so that the reaper can't take the child's
// status before it is known.
func (s *Supervisor) launch(spec *proto.Step, output, record *os.File, stdio []*os.File, g *group) *step {
	st := &step{id: spec.ID, began: time.Now(), file: record, grace: spec.Grace, group: g, console: spec.Console}
	s.steps[spec.ID] = st
	if s.lease.over {
		s.refuse(st, &startError{proto.CauseLapsed, errors.New("the job's lease is over")})
		return st
	}
	if s.base == nil {
		// It comes with the filter that steps are to be under; to go on without would be to run them without.
		s.refuse(st, &startError{proto.CauseInvalid, errors.New("the supervisor was not set up: no agent told it what steps have in common, or it could not install their system call filter (its log says why)")})
		return st
	}
	for _, other := range s.byPID {
		s.refuse(st, &startError{proto.CauseBusy, fmt.Errorf("step %s is still running", other.id)})
		return st
	}
	cmd, err := resolve(spec, s.base)
	if err != nil {
		s.refuse(st, err)
		return st
	}
	if g == nil || g.procs == nil {
		st.older = sessionsNow()
	}
	restore := s.exposeToOOM()
	attr := &syscall.ProcAttr{
		Dir: cmd.dir, Env: cmd.env,
		Files: []uintptr{s.null.Fd(), output.Fd(), output.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true, Credential: cmd.credential},
	}
	st.furnish(attr, output, stdio)
	pid, err := g.fork(cmd, attr)
	restore()
	g.entered()
	if err != nil {
		s.refuse(st, &startError{causeOf(err), fmt.Errorf("%s: %w", spec.Argv[0], err)})
		return st
	}
	st.pid = pid
	s.byPID[pid] = st
	if spec.Timeout > 0 {
		st.timeout = time.AfterFunc(spec.Timeout, func() { s.expire(st) })
	}
	return st
}

// startError is why a step's command does not run.
type startError struct {
	cause proto.Cause
	err   error
}

func (e *startError) Error() string { return e.err.Error() }
func (e *startError) Unwrap() error { return e.err }

// causeOf classifies what fork or exec said (execve(2), fork(2)).
func causeOf(err error) proto.Cause {
	for errno, cause := range map[syscall.Errno]proto.Cause{
		syscall.EAGAIN: proto.CauseProcesses, syscall.ENOMEM: proto.CauseMemory, syscall.E2BIG: proto.CauseTooLong,
		syscall.EACCES: proto.CauseNotExecutable, syscall.EPERM: proto.CauseNotExecutable, syscall.ENOEXEC: proto.CauseNotExecutable,
		syscall.ENOENT: proto.CauseNotExecutable, // of its interpreter: the file itself was there
	} {
		if errors.Is(err, errno) {
			return cause
		}
	}
	return ""
}

// refuse ends a step that could not begin. Called with mu held.
func (s *Supervisor) refuse(st *step, err error) {
	r := &proto.Record{Code: codeNotExecutable, Message: err.Error()}
	var start *startError
	if errors.As(err, &start) {
		r.Cause = start.cause
	}
	if r.Cause == proto.CauseNotFound {
		r.Code = codeNotFound
	}
	s.end(st, r)
}

// stepScore is how much likelier than this process a step is to be chosen by the OOM killer: a tenth of the memory
// that it counts against (proc(5), oom_score_adj). Raising a score needs no privilege.
const stepScore = 100

// exposeToOOM lets the next child be chosen by the OOM killer before this process: the score is inherited, and a process
// may always return to the score it was given.
func (s *Supervisor) exposeToOOM() (restore func()) {
	if s.oom == nil {
		return func() {}
	}
	buf := make([]byte, 16)
	n, _ := s.oom.ReadAt(buf, 0) // ends with io.EOF
	own, err := strconv.Atoi(strings.TrimSpace(string(buf[:n])))
	if err != nil {
		return func() {}
	}
	if _, err := s.oom.WriteAt([]byte(strconv.Itoa(min(own+stepScore, 1000))), 0); err != nil {
		s.cfg.Log.Warn("raising the OOM score for a step", "err", err)
		return func() {}
	}
	return func() {
		if _, err := s.oom.WriteAt([]byte(strconv.Itoa(own)), 0); err != nil {
			s.cfg.Log.Warn("restoring the OOM score", "err", err)
		}
	}
}

func (s *Supervisor) expire(st *step) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if st.record != nil || st.exited != nil {
		return
	}
	st.timedOut = true
	s.terminate(st, st.grace)
}

// reap collects every ended child: steps and adopted orphans.
func (s *Supervisor) reap() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if errors.Is(err, syscall.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return
		}
		st := s.byPID[pid]
		if st == nil || (!status.Exited() && !status.Signaled()) {
			continue
		}
		delete(s.byPID, pid)
		st.exited = &status
		switch {
		case st.stopping:
		case st.console != "":
			st.swept = true
			s.terminate(st, st.grace)
		default:
			s.conclude(st)
		}
	}
}

// conclude ends a step whose leader has exited. Called with mu held.
func (s *Supervisor) conclude(st *step) {
	r := &proto.Record{Code: st.exited.ExitStatus()}
	if st.exited.Signaled() {
		r.Signal = int(st.exited.Signal())
		r.Code = 128 + r.Signal
	}
	s.end(st, r)
}

// end writes the exit record and tells the agent, if there is one. Called with mu held.
func (s *Supervisor) end(st *step, r *proto.Record) {
	if st.record != nil {
		return
	}
	if st.timeout != nil {
		st.timeout.Stop()
	}
	r.ID, r.TimedOut, r.Duration = st.id, st.timedOut, time.Since(st.began)
	r.Stopped, r.Killed, r.Lapsed = st.stopping && !st.swept, st.killed, st.lapsed
	st.count(r)
	st.group.close()
	data, err := proto.EncodeRecord(*r)
	if err == nil {
		_, err = st.file.Write(data)
	}
	if err != nil {
		s.cfg.Log.Error("writing an exit record", "step", st.id, "err", err)
	}
	st.record = r
	running := st.pid != 0
	if running {
		_ = st.file.Close() // otherwise start still holds it
	}
	if c := s.conn; c != nil && running {
		go func() { _ = c.Send(&proto.Message{Type: proto.TypeEnded, Ended: r}) }()
	}
}

// count notes what the control group tells of the step.
func (st *step) count(r *proto.Record) {
	left, ok := st.group.members()
	if !ok {
		return // also without a group
	}
	r.Grouped, r.Left = true, len(left)
	r.OOMKills = st.group.memory.read()
	r.ForksRefused = st.refused()
}

// refused counts forks that failed before the supervisor itself made them fail.
func (st *step) refused() int64 {
	if st.frozen {
		return st.forksRefused
	}
	return st.group.pids.read()
}
