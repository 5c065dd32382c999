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

	exited   *syscall.WaitStatus // of the leader
	stopping bool
	killAt   time.Time
	timedOut bool
	record   *proto.Record // set once, when the step has ended
}

// launch starts a step's process and registers it. Called with mu held, so that the reaper can't take the child's
// status before it is known.
func (s *Supervisor) launch(spec *proto.Step, output, record *os.File) *step {
	st := &step{id: spec.ID, began: time.Now(), file: record, grace: spec.Grace}
	s.steps[spec.ID] = st
	for _, other := range s.byPID {
		s.finish(st, codeNotExecutable, "step "+other.id+" is still running")
		return st
	}
	cmd, err := resolve(spec, s.base)
	if err != nil {
		code := codeNotExecutable
		if errors.Is(err, errNotFound) {
			code = codeNotFound
		}
		s.finish(st, code, err.Error())
		return st
	}
	st.older = sessionsNow()
	restore := s.exposeToOOM()
	pid, err := syscall.ForkExec(cmd.path, cmd.argv, &syscall.ProcAttr{
		Dir: cmd.dir, Env: cmd.env,
		Files: []uintptr{s.null.Fd(), output.Fd(), output.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true, Credential: cmd.credential},
	})
	restore()
	if err != nil {
		s.finish(st, codeNotExecutable, fmt.Sprintf("%s: %v", spec.Argv[0], err))
		return st
	}
	st.pid = pid
	s.byPID[pid] = st
	if spec.Timeout > 0 {
		st.timeout = time.AfterFunc(spec.Timeout, func() { s.expire(st) })
	}
	return st
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
		if st == nil || !(status.Exited() || status.Signaled()) {
			continue
		}
		delete(s.byPID, pid)
		st.exited = &status
		if !st.stopping {
			s.conclude(st)
		}
	}
}

// conclude ends a step whose leader has exited. Called with mu held.
func (s *Supervisor) conclude(st *step) {
	if st.exited.Signaled() {
		s.finishSignal(st, int(st.exited.Signal()))
		return
	}
	s.finish(st, st.exited.ExitStatus(), "")
}

func (s *Supervisor) finishSignal(st *step, signal int) {
	s.end(st, &proto.Record{Code: 128 + signal, Signal: signal})
}

func (s *Supervisor) finish(st *step, code int, message string) {
	s.end(st, &proto.Record{Code: code, Message: message})
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
