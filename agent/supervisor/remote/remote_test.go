package remote_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/agent/sandbox/procid"
	"github.com/slipway-ci/slipway/agent/supervisor"
	"github.com/slipway-ci/slipway/agent/supervisor/proto"
	"github.com/slipway-ci/slipway/agent/supervisor/remote"
)

// The test binary is also the supervisor, as an ordinary process, so that the protocol is tested without containers.
const beSupervisor = "SLIPWAY_TEST_SUPERVISOR_SOCKET"

func TestMain(m *testing.M) {
	if socket := os.Getenv(beSupervisor); socket != "" {
		log := slog.New(slog.NewTextHandler(os.Stderr, nil))
		if err := supervisor.Run(context.Background(), supervisor.Config{Socket: socket, Log: log}); err != nil {
			log.Error("supervisor", "err", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

type rig struct {
	t    *testing.T
	dir  string
	sup  *remote.Supervisor
	init procid.ID
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func newRig(t *testing.T) *rig {
	t.Helper()
	dir, err := os.MkdirTemp("", "sup")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	r := &rig{t: t, dir: dir}
	r.listen(nil)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{beSupervisor + "=" + filepath.Join(dir, proto.SocketName), "PATH=" + os.Getenv("PATH")}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("supervisor: %s", &stderr)
		}
	})
	if r.init, err = procid.Of(cmd.Process.Pid); err != nil {
		t.Fatal(err)
	}
	r.sup.Trust(r.init, &proto.Base{Env: []string{"PATH=/usr/bin:/bin", "WHO=base", "KEEP=kept"}, Dir: dir})
	if err := r.sup.Ready(r.ctx()); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	r.t.Cleanup(cancel)
	return ctx
}

func (r *rig) listen(init *procid.ID) {
	r.t.Helper()
	s, err := remote.Listen(r.dir, quiet())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { s.Close() })
	r.sup = s
	if init != nil {
		s.Trust(*init, nil)
	}
}

func (r *rig) start(step *proto.Step) {
	r.t.Helper()
	out, err := os.OpenFile(filepath.Join(r.dir, step.ID+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		r.t.Fatal(err)
	}
	defer out.Close()
	rec, err := os.OpenFile(filepath.Join(r.dir, step.ID+".exit"), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		r.t.Fatal(err)
	}
	defer rec.Close()
	if err := r.sup.Start(r.ctx(), step, out, rec); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) output(id string) string {
	r.t.Helper()
	data, err := os.ReadFile(filepath.Join(r.dir, id+".log"))
	if err != nil {
		r.t.Fatal(err)
	}
	return string(data)
}

// record polls the exit record: the file is what must be there, whatever the connection does.
func (r *rig) record(id string) proto.Record {
	r.t.Helper()
	for ctx := r.ctx(); ctx.Err() == nil; {
		data, err := os.ReadFile(filepath.Join(r.dir, id+".exit"))
		if err != nil {
			r.t.Fatal(err)
		}
		if rec, err := proto.DecodeRecord(data); err == nil {
			return rec
		}
		select {
		case <-time.After(2 * time.Millisecond):
		case <-ctx.Done():
		}
	}
	r.t.Fatalf("no exit record of %s", id)
	return proto.Record{}
}

// line waits until the output has the text.
func (r *rig) line(id, text string) {
	r.t.Helper()
	for ctx := r.ctx(); !strings.Contains(r.output(id), text); {
		select {
		case <-time.After(2 * time.Millisecond):
		case <-ctx.Done():
			r.t.Fatalf("no %q in the output of %s: %q", text, id, r.output(id))
		}
	}
}

func sh(id, script string) *proto.Step {
	return &proto.Step{ID: id, Argv: []string{"sh", "-c", script}, Env: []string{"WHO=step"}}
}

func TestStepRunsWithMergedEnvironment(t *testing.T) {
	r := newRig(t)
	r.start(sh("a", `echo $WHO $KEEP; echo err >&2; pwd; exit 3`))
	if rec := r.record("a"); rec.Code != 3 || rec.Duration <= 0 {
		t.Errorf("record %+v", rec)
	}
	if want := "step kept\nerr\n" + r.dir + "\n"; r.output("a") != want {
		t.Errorf("output %q, want %q", r.output("a"), want)
	}
}

func TestStartTwiceRunsOnce(t *testing.T) {
	r := newRig(t)
	r.start(sh("a", "echo once"))
	r.record("a")
	r.start(sh("a", "echo twice"))
	if r.output("a") != "once\n" {
		t.Errorf("output %q", r.output("a"))
	}
}

func TestCommandsThatCanNotRun(t *testing.T) {
	r := newRig(t)
	plain := filepath.Join(r.dir, "plain")
	if err := os.WriteFile(plain, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for id, c := range map[string]struct {
		step *proto.Step
		code int
		says string
	}{
		"missing": {&proto.Step{Argv: []string{"no-such-command"}}, 127, "command not found"},
		"noexec":  {&proto.Step{Argv: []string{plain}}, 126, "permission denied"},
		"nodir":   {&proto.Step{Argv: []string{"sh"}, Dir: "/no/such"}, 126, "working directory /no/such"},
		"nouser":  {&proto.Step{Argv: []string{"sh"}, User: "nobody-such"}, 126, `user "nobody-such"`},
		"empty":   {&proto.Step{}, 126, "no command"},
	} {
		c.step.ID = id
		r.start(c.step)
		if rec := r.record(id); rec.Code != c.code || !strings.Contains(rec.Message, c.says) {
			t.Errorf("%s: %+v, want code %d and %q", id, rec, c.code, c.says)
		}
	}
}

func TestStopEndsTheWholeTree(t *testing.T) {
	r := newRig(t)
	// The grandchild leaves the process group and the session, and ignores TERM.
	r.start(sh("a", `setsid sh -c 'trap "" TERM; echo $$ > gone; while :; do sleep 1; done' & trap 'echo term; exit 9' TERM; `+
		`while [ ! -s gone ]; do sleep 0.01; done; echo ready; while :; do sleep 0.01; done`))
	r.line("a", "ready")
	if err := r.sup.Stop(r.ctx(), "a", 200*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if rec := r.record("a"); rec.Code != 9 || rec.TimedOut {
		t.Errorf("record %+v", rec)
	}
	pid, err := os.ReadFile(filepath.Join(r.dir, "gone"))
	if err != nil {
		t.Fatal(err)
	}
	// It is killed before the record is written, and reaped a moment later.
	ctx := r.ctx()
	for {
		if _, err := os.Stat("/proc/" + strings.TrimSpace(string(pid))); err != nil {
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("grandchild %s outlived the stop", strings.TrimSpace(string(pid)))
		}
		runtime.Gosched()
	}
	if err := r.sup.Stop(r.ctx(), "a", 0); err != nil {
		t.Errorf("stop of an ended step: %v", err)
	}
}

func TestLeftoversOfAnEarlierStepLiveOn(t *testing.T) {
	r := newRig(t)
	r.start(sh("a", `setsid sh -c 'echo $$ > left; exec sleep 60' & while [ ! -s left ]; do sleep 0.01; done`))
	r.record("a")
	r.start(sh("b", `echo ready; sleep 60`))
	r.line("b", "ready")
	if err := r.sup.Stop(r.ctx(), "b", 0); err != nil {
		t.Fatal(err)
	}
	pid, err := os.ReadFile(filepath.Join(r.dir, "left"))
	if err != nil {
		t.Fatal(err)
	}
	proc, err := os.Stat("/proc/" + strings.TrimSpace(string(pid)))
	if err != nil || proc == nil {
		t.Fatalf("the earlier step's background process was killed: %v", err)
	}
	_ = exec.Command("kill", "-9", strings.TrimSpace(string(pid))).Run()
}

func TestTimeoutWithoutAnAgent(t *testing.T) {
	r := newRig(t)
	step := sh("a", `trap 'echo term' TERM; echo ready; while :; do sleep 0.01; done`)
	step.Timeout, step.Grace = 300*time.Millisecond, 100*time.Millisecond
	r.start(step)
	if err := r.sup.Close(); err != nil {
		t.Fatal(err)
	}
	rec := r.record("a")
	if !rec.TimedOut || rec.Signal != 9 || rec.Code != 137 {
		t.Errorf("record %+v", rec)
	}
	if !strings.Contains(r.output("a"), "term") {
		t.Errorf("no TERM before KILL: %q", r.output("a"))
	}
}

func TestAgentComesBack(t *testing.T) {
	r := newRig(t)
	r.start(sh("a", `i=0; while [ $i -lt 200 ]; do echo line $i; i=$((i+1)); sleep 0.002; done; exit 7`))
	if err := r.sup.Close(); err != nil {
		t.Fatal(err)
	}
	r.listen(&r.init)
	if err := r.sup.Ready(r.ctx()); err != nil {
		t.Fatal(err)
	}
	if rec := r.record("a"); rec.Code != 7 {
		t.Errorf("record %+v", rec)
	}
	if got := strings.Count(r.output("a"), "\n"); got != 200 {
		t.Errorf("%d lines, want 200", got)
	}
	r.start(sh("b", "echo $KEEP"))
	r.record("b")
	if r.output("b") != "kept\n" {
		t.Errorf("the base environment was lost: %q", r.output("b"))
	}
}

func TestStrangersAreRefused(t *testing.T) {
	r := newRig(t)
	c, err := net.Dial("unix", filepath.Join(r.dir, proto.SocketName))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if n, err := c.Read(make([]byte, 1)); err == nil {
		t.Fatalf("a stranger was answered with %d bytes", n)
	}
	if r.sup.Refused() != 1 {
		t.Errorf("refused %d", r.sup.Refused())
	}
	r.start(sh("a", "true"))
	r.record("a")
}

func TestStepCanNotReadTheSupervisor(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("on the host root has CAP_SYS_PTRACE; sandboxtest checks it in a container")
	}
	r := newRig(t)
	r.start(sh("a", `cat /proc/$PPID/environ`))
	if rec := r.record("a"); rec.Code == 0 {
		t.Errorf("a step could read its supervisor's environment")
	}
}
