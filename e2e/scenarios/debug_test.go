package scenarios

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// failing is a job that leaves something to look at.
const failing = `
steps:
- run: |
    echo left > here.txt
    echo "::add-mask::hunter2"
    echo "TOKEN=hunter2" >> $GITHUB_ENV
    echo "PLAIN=seen" >> $GITHUB_ENV
  shell: sh
- {run: "echo own $OWN; exit 3", shell: sh, env: {OWN: mine}}
`

// heldRun runs a workflow whose job a fails and is held.
func heldRun(t *testing.T, text string, flags ...string) (*project, *apiv1.Run) {
	t.Helper()
	p := workflow(t, text)
	res := p.slipway(append([]string{"run", "ci.yml", "-o", "json", "--hold-on-failure"}, flags...)...)
	if res.Code != failed {
		t.Fatalf("exit code %d\n%s%s", res.Code, res.Stdout, res.Stderr)
	}
	run := decodeRuns(t, res.Stdout)[0]
	t.Cleanup(func() { // also lets the pod go
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if _, err := sys.Slipway(ctx, p.dir, "runs", "cancel", run.GetId()); err != nil {
			t.Error(err)
		}
	})
	return p, run
}

func held(r *apiv1.Run) *corev1.Held { return r.GetJobs()[0].GetHeld() }

func isHeld(r *apiv1.Run) bool { return held(r) != nil && held(r).GetReleasedMs() == 0 }

func TestDebugCommandInAHeldJob(t *testing.T) {
	p, run := heldRun(t, oneJob(failing))
	if run.GetState() != corev1.RunState_RUN_STATE_FAILED || !isHeld(run) {
		t.Fatalf("the run is not over, or not held: %v", run)
	}
	out := p.must("runs", "show", run.GetId())
	if want := fmt.Sprintf("slipway debug '#%d.1' a", run.GetNumber()); !strings.Contains(out, "held until") || !strings.Contains(out, want) {
		t.Errorf("runs show says\n%s", out)
	}
	if out := p.must("why", run.GetId()); !strings.Contains(out, "its pod is held until") {
		t.Errorf("why says\n%s", out)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	if out := p.must("agents", "show", host); !strings.Contains(out, fmt.Sprintf("a of run #%d  failed, held until", run.GetNumber())) {
		t.Errorf("agents show says\n%s", out)
	}
	cmd := sys.Command(t.Context(), p.dir, "debug", run.GetId(), "a", "--", "sh", "-c",
		`cat here.txt; echo own=$OWN plain=$PLAIN token=$TOKEN; cat $(dirname $GITHUB_OUTPUT)/*.sh; read line; echo "got $line"; echo oops >&2; grep -c Seccomp:.2 /proc/self/status; exit 7`)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader("hello\n"), &stdout, &stderr
	_ = cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != 7 {
		t.Errorf("exit code %d: %s", code, &stderr)
	}
	if want := "left\nown=mine plain=seen token=\necho own $OWN; exit 3got hello\n1\n"; stdout.String() != want || stderr.String() != "oops\n" {
		t.Errorf("printed\n%q and %q, want\n%q", &stdout, &stderr, want)
	}
	session := p.show(run.GetId()).GetJobs()[0].GetDebugSessions()[0]
	if session.GetExitCode() != 7 || session.GetBytesIn() != 6 || session.GetBytesOut() == 0 || session.GetEndedMs() == 0 || session.GetUser() != "local" || session.GetCommand()[0] != "sh" || session.GetTty() {
		t.Errorf("recorded %v", session)
	}
	if res := p.slipway("debug", run.GetId(), "--release"); res.Code != succeeded || !strings.Contains(res.Stdout, "is let go") {
		t.Errorf("release: %v", res)
	}
	if res := p.slipway("debug", run.GetId(), "a"); res.Code != invalid || !strings.Contains(res.Stderr, "local let it go") {
		t.Errorf("entered a released job: %v", res)
	}
}

// TestDebugEntersTheStepsContainer: that of the step that failed, also its own, or of the one that is named.
func TestDebugEntersTheStepsContainer(t *testing.T) {
	p, run := heldRun(t, oneJob(`
steps:
- {run: touch /of-the-job, shell: sh}
- {run: touch /of-the-step; exit 1, shell: sh, image: busybox}
`))
	if out := p.must("debug", run.GetId(), "--", "sh", "-c", "ls /of-*"); out != "/of-the-step\n" {
		t.Errorf("where the step failed there is %q", out)
	}
	if out := p.must("debug", run.GetId(), "a", "--step", "1", "--", "sh", "-c", "ls /of-*"); out != "/of-the-job\n" {
		t.Errorf("where the first step ran there is %q", out)
	}
	if res := p.slipway("debug", run.GetId(), "a", "--step", "7", "--", "true"); res.Code != invalid || !strings.Contains(res.Stderr, "job a has no step 7; it has: 1 ") {
		t.Errorf("a step that there is not: %v", res)
	}
}

func TestHeldJobsThatCanNotBeEntered(t *testing.T) {
	p := workflow(t, oneJob("steps: [{run: exit 1, shell: sh}]\n"))
	run := p.run(failed).run
	if res := p.slipway("debug", run.GetId(), "a"); res.Code != invalid || !strings.Contains(res.Stderr, "--hold-on-failure") {
		t.Errorf("a run that holds nothing: %v", res)
	}
	if res := p.slipway("run", "ci.yml", "--hold-on-failure=99h"); res.Code != invalid || !strings.Contains(res.Stderr, "at most 4h0m0s") {
		t.Errorf("too long: %v", res)
	}
	good := workflow(t, oneJob("steps: [{run: exit 0, shell: sh}]\n"))
	res := good.slipway("run", "ci.yml", "-o", "json", "--hold-on-failure=1m")
	if r := decodeRuns(t, res.Stdout)[0]; res.Code != succeeded || held(r) != nil {
		t.Errorf("a good run: %v", r)
	}
}

func TestHoldsEndWithTheirLeaseOrRun(t *testing.T) {
	p, run := heldRun(t, oneJob("steps: [{run: exit 1, shell: sh}]\n"), "--hold-on-failure=2s")
	run = p.until(run.GetId(), "lease runs out", func(r *apiv1.Run) bool { return !isHeld(r) })
	if held(run).GetReleased() != "the lease ran out" {
		t.Errorf("%v", held(run))
	}
	p, run = heldRun(t, oneJob("steps: [{run: exit 1, shell: sh}]\n"))
	l := p.start("debug", run.GetId(), "a", "--", "sh", "-c", "echo in; sleep 1000")
	l.await("in")
	if res := p.slipway("debug", run.GetId(), "a", "--", "true"); res.Code != invalid || !strings.Contains(res.Stderr, "only one can be") {
		t.Errorf("two at once: %v", res)
	}
	p.must("runs", "cancel", run.GetId())
	if res := l.wait(); res.Code == succeeded || !strings.Contains(res.Stderr, "the run was cancelled") {
		t.Errorf("whoever was in it: %v", res)
	}
	p.until(run.GetId(), "session is closed", func(r *apiv1.Run) bool { return r.GetJobs()[0].GetDebugSessions()[0].GetEndedMs() != 0 })
}

// TestHoldOutlivesItsAgentAndCoordinator: both are killed; the hold and its deadline are there still, whoever was in it is out and recorded.
func TestHoldOutlivesItsAgentAndCoordinator(t *testing.T) {
	p, run := heldRun(t, oneJob(failing))
	until := held(run).GetUntilMs()
	for _, name := range []string{"agent", "coordinator"} {
		l := p.start("debug", run.GetId(), "a", "--", "sh", "-c", "echo in; sleep 1000")
		l.await("in")
		pid := pids(t, name)[0]
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if res := l.wait(); res.Code == succeeded {
			t.Errorf("killed %s: the session ended as %v", name, res)
		}
		var out string
		eventually(t, "somebody comes in again after the "+name+" was killed", func() bool {
			res := p.slipway("debug", run.GetId(), "a", "--", "sh", "-c", "cat here.txt; ps | grep -c '[s]leep 1000'")
			out = res.Stdout
			return strings.HasPrefix(out, "left\n")
		})
		if out != "left\n0\n" {
			t.Errorf("after the %s was killed: %q", name, out)
		}
	}
	now := p.show(run.GetId())
	if !isHeld(now) || held(now).GetUntilMs() < until {
		t.Errorf("held %v", held(now))
	}
	for _, s := range now.GetJobs()[0].GetDebugSessions() {
		if s.GetEndedMs() == 0 {
			t.Errorf("a session has no end: %v", s)
		}
	}
	p.must("debug", run.GetId(), "--release")
}

// TestDebugShellOnATerminal drives the CLI through a real terminal.
func TestDebugShellOnATerminal(t *testing.T) {
	p, run := heldRun(t, oneJob(failing))
	master, tty := openTerminal(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := sys.Command(ctx, p.dir, "debug", run.GetId(), "a")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = tty, tty, tty
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	setSize(t, tty, 30, 90)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	seen := newLines()
	go func() { _, _ = io.Copy(seen, master); seen.end() }()
	say := func(text, want string) {
		t.Helper()
		if _, err := io.WriteString(master, text); err != nil {
			t.Fatal(err)
		}
		eventually(t, fmt.Sprintf("%q after %q", want, text), func() bool { return strings.Contains(seen.String(), want) })
	}
	say("", "this is the job's container, as step 2 has it: ")
	say("stty size; echo $((40 + 2)); cat here.txt\r", "30 90\r\n42\r\nleft\r\n")
	setSize(t, tty, 33, 99)
	if err := cmd.Process.Signal(syscall.SIGWINCH); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the new size arrives", func() bool {
		_, err := io.WriteString(master, "stty size\r")
		return err == nil && strings.Contains(seen.String(), "33 99\r\n")
	})
	// Ctrl-C is the command's, not the CLI's.
	say("sleep 1000\r", "sleep 1000\r\n")
	say("\x03", "^C")
	say("echo on $((1 + 1))\r", "on 2\r\n")
	say("exit 5\r", "let the pod of job a go? [y/N]")
	say("y\r", "is let go")
	if err := cmd.Wait(); cmd.ProcessState.ExitCode() != 5 {
		t.Errorf("%v:\n%s", err, seen)
	}
	if now := p.show(run.GetId()); isHeld(now) || !now.GetJobs()[0].GetDebugSessions()[0].GetTty() {
		t.Errorf("%v", now.GetJobs()[0])
	}
}

func openTerminal(t *testing.T) (master, tty *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = tty.Close() })
	return master, tty
}

func setSize(t *testing.T, tty *os.File, rows, columns uint16) {
	t.Helper()
	if err := unix.IoctlSetWinsize(int(tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns}); err != nil {
		t.Fatal(err)
	}
}
