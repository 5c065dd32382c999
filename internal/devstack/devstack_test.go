package devstack

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	helperMode = "DEVSTACK_TEST_MODE"
	helperDir  = "DEVSTACK_TEST_DIR"
)

// The test binary plays the processes: `work` blocks until TERM and writes what happened to it, `supervise` runs a stack
// and prints "ready" when it is.
func TestMain(m *testing.M) {
	switch os.Getenv(helperMode) {
	case "":
		os.Exit(m.Run())
	case "supervise":
		os.Exit(superviseHelper())
	}
	workHelper()
}

func workHelper() {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGTERM)
	fmt.Println("up", os.Getpid())
	<-c
	fmt.Println("down", time.Now().UnixNano())
	os.Exit(0)
}

func superviseHelper() int {
	s := testStack(os.Getenv(helperDir))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	s.OnReady = func() { fmt.Println("ready") }
	if err := s.Run(ctx, func() bool { return false }); err != nil {
		fmt.Println("error:", err)
		return 1
	}
	return 0
}

// testStack is a stack of two workers.
func testStack(dir string) *Stack {
	s := &Stack{Dir: dir, Log: slog.New(slog.NewTextHandler(io.Discard, nil)), ReadyIn: 30 * time.Second}
	for _, name := range []string{"first", "second"} {
		log := filepath.Join(dir, name+".log")
		s.Processes = append(s.Processes, Process{
			Name: name, Argv: []string{self(), name}, Env: []string{helperMode + "=work"}, Log: log,
			Ready: func(context.Context) error {
				b, err := os.ReadFile(log)
				if err == nil && !strings.Contains(string(b), "up") {
					err = errors.New("not up")
				}
				return err
			},
		})
	}
	return s
}

func self() string {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return exe
}

// supervise starts a supervisor as a process of its own and waits until its stack is ready.
func supervise(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(self())
	cmd.Env = append(os.Environ(), helperMode+"=supervise", helperDir+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "ready\n" {
		t.Fatalf("supervisor said %q, %v", line, err)
	}
	return cmd
}

// stackDir is a directory whose processes are gone after the test.
func stackDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Cleanup(func() {
		all, err := marked(dir)
		for _, pids := range all {
			for _, pid := range pids {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		if err != nil {
			t.Error(err)
		}
	})
	return dir
}

func pids(t *testing.T, s *Stack) (first, second int) {
	t.Helper()
	st, err := s.Status()
	if err != nil || len(st) != 3 {
		t.Fatal(st, err)
	}
	return st[1].PID, st[2].PID
}

// changed waits until the process of a name has another pid than before, and is alive.
func changed(t *testing.T, s *Stack, name string, before int) {
	t.Helper()
	// Another process's doing can only be looked for.
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	limit := time.After(2 * time.Minute)
	for {
		select {
		case <-look.C:
			if rec, err := readRecord(s.pidFile(name)); err == nil && rec.PID != before && rec.alive() {
				return
			}
		case <-limit:
			t.Fatalf("%s (pid %d) was not started again", name, before)
		}
	}
}

func TestKilledSupervisorTakesNobodyAlong(t *testing.T) {
	dir := stackDir(t)
	s := testStack(dir)
	sup := supervise(t, dir)
	first, second := pids(t, s)
	if err := sup.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = sup.Wait()
	if s.Supervisor() != 0 {
		t.Error("the supervisor is said to be alive")
	}
	// The pid file of one is lost: its mark identifies it.
	if err := os.Remove(s.pidFile("second")); err != nil {
		t.Fatal(err)
	}
	supervise(t, dir)
	if f, sec := pids(t, s); f != first || sec != second {
		t.Errorf("pids %d %d, want the adopted %d %d", f, sec, first, second)
	}
}

func TestKilledProcessIsStartedAgainAndTheOtherStays(t *testing.T) {
	dir := stackDir(t)
	s := testStack(dir)
	sup := supervise(t, dir)
	first, second := pids(t, s)
	if err := syscall.Kill(first, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	changed(t, s, "first", first)
	// An adopted one, which is not the supervisor's child, is watched just the same.
	_ = sup.Process.Kill()
	_ = sup.Wait()
	supervise(t, dir)
	if _, sec := pids(t, s); sec != second {
		t.Fatalf("second is %d, want %d", sec, second)
	}
	if err := syscall.Kill(second, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	changed(t, s, "second", second)
}

func TestTermStopsInReverseOrder(t *testing.T) {
	dir := stackDir(t)
	s := testStack(dir)
	sup := supervise(t, dir)
	if err := s.SignalSupervisor(t.Context(), syscall.SIGTERM); err == nil {
		// The supervisor is our child: it stays a zombie until it is waited for, and pidfd tells its end all the same.
		_ = sup.Wait()
	} else {
		t.Fatal(err)
	}
	if f, sec := pids(t, s); f != 0 || sec != 0 {
		t.Errorf("still running: %d %d", f, sec)
	}
	if f, sec := downAt(t, dir, "first"), downAt(t, dir, "second"); f < sec {
		t.Errorf("first ended before second")
	}
	if all, err := marked(dir); err != nil || len(all) != 0 {
		t.Errorf("left over: %v %v", all, err)
	}
}

func downAt(t *testing.T, dir, name string) (nanos int64) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(b), "down ")
	if _, err := fmt.Sscan(after, &nanos); err != nil {
		t.Fatalf("%s: %v in %q", name, err, b)
	}
	return nanos
}

func TestOneSupervisorAtATime(t *testing.T) {
	dir := stackDir(t)
	supervise(t, dir)
	if err := testStack(dir).Run(t.Context(), func() bool { return true }); !errors.Is(err, ErrRunning) {
		t.Fatalf("second supervisor: %v", err)
	}
}

func TestOutdatedProcessIsReplaced(t *testing.T) {
	dir := stackDir(t)
	s := testStack(dir)
	ctx, cancel := context.WithCancel(t.Context())
	s.OnReady = cancel
	if err := s.Run(ctx, func() bool { return true }); err != nil {
		t.Fatal(err)
	}
	first, second := pids(t, s)
	s.Processes[0].Fingerprint = "new configuration"
	ctx, cancel = context.WithCancel(t.Context())
	s.OnReady = cancel
	reap(first)
	if err := s.Run(ctx, func() bool { return false }); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "first.log"))
	if err != nil || strings.Count(string(b), "up ") != 2 {
		t.Errorf("first was not replaced: %q %v", b, err)
	}
	if b, err = os.ReadFile(filepath.Join(dir, "second.log")); err != nil || strings.Count(string(b), "up ") != 1 {
		t.Errorf("second was replaced: %q %v (pid %d)", b, err, second)
	}
}

// reap collects a child of this test once it ended, as init would for a supervisor that died.
func reap(pid int) {
	go func() {
		var ws syscall.WaitStatus
		_, _ = syscall.Wait4(pid, &ws, 0, nil)
	}()
}

func TestProcessThatNeverComesUpIsAnErrorThatNamesItsLog(t *testing.T) {
	dir := stackDir(t)
	s := testStack(dir)
	s.ReadyIn = 300 * time.Millisecond
	s.Processes[1].Ready = func(context.Context) error { return errors.New("refused") }
	err := s.Run(t.Context(), func() bool { return false })
	if err == nil || !strings.Contains(err.Error(), "second.log") || !strings.Contains(err.Error(), "refused") {
		t.Fatalf("%v", err)
	}
	if f, sec := pids(t, s); f != 0 || sec != 0 {
		t.Errorf("still running: %d %d", f, sec)
	}
}

func TestPidOfSomebodyElseIsNotAdopted(t *testing.T) {
	dir := stackDir(t)
	s := testStack(dir)
	other, err := identify(os.Getppid())
	if err != nil {
		t.Fatal(err)
	}
	other.Start--
	if err := writeRecord(s.pidFile("first"), record{other, s.Processes[0].Argv, ""}); err != nil {
		t.Fatal(err)
	}
	if r, _, err := s.find(s.Processes[0]); r != nil || err != nil {
		t.Fatalf("found %v %v", r, err)
	}
	if err := s.StopOne("first"); err != nil {
		t.Fatal(err)
	}
}

func TestLeftoversAreKilled(t *testing.T) {
	dir := stackDir(t)
	s := testStack(dir)
	r, err := s.start(t.Context(), Process{Name: "shell", Argv: []string{"/bin/sh", "-c", "sleep 1000 & exit 0"}, Log: filepath.Join(dir, "shell.log")})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.release()
	if n, err := s.KillLeftovers(t.Context()); err != nil || n != 1 {
		t.Fatalf("%d leftovers, %v", n, err)
	}
	if n, err := s.KillLeftovers(t.Context()); err != nil || n != 0 {
		t.Fatalf("%d leftovers after killing them, %v", n, err)
	}
}

func TestStatOfANameWithParentheses(t *testing.T) {
	dir := t.TempDir()
	src, err := os.ReadFile("/bin/sleep")
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, "a) R 1 (b")
	if err := os.WriteFile(name, src, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(name, "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	id, err := identify(cmd.Process.Pid)
	if err != nil || id.Start == 0 || !id.alive() {
		t.Errorf("%+v %v", id, err)
	}
	if err := cmd.Process.Signal(unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if id.alive() {
		t.Error("alive after its end")
	}
}
