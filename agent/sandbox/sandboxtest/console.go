package sandboxtest

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/slipway-ci/slipway/agent/sandbox"
)

// console starts a shell command whose input and output the test holds; a sandbox without consoles skips the test.
func (s *suite) console(t *testing.T, pod sandbox.Pod, id, script string, terminal bool) *sandbox.Console {
	t.Helper()
	c, ok := pod.(sandbox.Consoles)
	if !ok {
		t.Skip("this sandbox has no consoles")
	}
	return s.consoleIn(t, c, "", id, script, terminal)
}

// consoleIn is console in the container of an image of the pod's; "" is the job's.
func (s *suite) consoleIn(t *testing.T, c sandbox.Consoles, image, id, script string, terminal bool) *sandbox.Console {
	t.Helper()
	spec := sandbox.StepSpec{ID: id, Argv: []string{"sh", "-c", script}, Env: []string{"BOTH=step"}, Grace: time.Second, Image: image}
	con, err := c.Console(testContext(t), spec, terminal)
	if err != nil {
		t.Fatalf("console: %v", err)
	}
	t.Cleanup(con.Close)
	return con
}

func (s *suite) consolePipes(t *testing.T) {
	pod := s.pod(t, s.open(t))
	con := s.console(t, pod, "c1", `echo $FROM_POD $BOTH; echo to stderr >&2; while read line; do echo "got $line"; done; exit 3`, false)
	if _, err := io.WriteString(con.In, "one\ntwo\n"); err != nil {
		t.Fatal(err)
	}
	_ = con.In.Close()
	out, err := io.ReadAll(con.Out)
	if want := "pod step\ngot one\ngot two\n"; err != nil || string(out) != want {
		t.Errorf("output %q, %v, want %q", out, err, want)
	}
	if text, err := io.ReadAll(con.Err); err != nil || string(text) != "to stderr\n" {
		t.Errorf("standard error %q, %v", text, err)
	}
	if exit := s.wait(t, pod, "c1"); exit.Code != 3 || exit.Stopped {
		t.Errorf("exit %s", describe(exit))
	}
	// What it leaves behind ends with it: nobody holds it any more.
	con = s.console(t, pod, "c2", `(trap '' TERM HUP; exec sleep 3600) & echo started; exit 4`, false)
	if out, err := io.ReadAll(con.Out); err != nil || string(out) != "started\n" {
		t.Errorf("output %q, %v", out, err)
	}
	if exit := s.wait(t, pod, "c2"); exit.Code != 4 || exit.Left != 0 {
		t.Errorf("exit %s", describe(exit))
	}
	s.start(t, pod, s.step(t, "a", hello))
	s.wait(t, pod, "a")
}

func (s *suite) consoleTerminal(t *testing.T) {
	pod := s.pod(t, s.open(t))
	con := s.console(t, pod, "c1", `trap 'echo resized to $(stty size)' WINCH; tty -s && echo is a terminal; echo ready; read line; echo "got $line"; sleep 0.1; exit 3`, true)
	if err := con.Resize(20, 70); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(con.In, "one\r"); err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(con.Out)
	if text := string(out); err != nil || !strings.Contains(text, "is a terminal\r\n") || !strings.Contains(text, "got one\r\n") {
		t.Errorf("output %q, %v", out, err)
	}
	if exit := s.wait(t, pod, "c1"); exit.Code != 3 {
		t.Errorf("exit %s", describe(exit))
	}
	// Its hanging up ends it, and Stop what does not mind.
	con = s.console(t, pod, "c2", `trap '' HUP TERM; echo ready; while :; do sleep 0.01; done`, true)
	if _, err := io.ReadFull(con.Out, make([]byte, len("ready"))); err != nil { // else the traps may not be set yet
		t.Fatal(err)
	}
	con.Close()
	if err := pod.Stop(testContext(t), "c2", 50*time.Millisecond); err != nil {
		t.Errorf("stop: %v", err)
	}
	if exit := s.wait(t, pod, "c2"); exit.Code != 137 || !exit.Stopped {
		t.Errorf("exit %s", describe(exit))
	}
}

// consoleInImage is in the container of the step's image, with and without a terminal, and not in the job's.
func (s *suite) consoleInImage(t *testing.T) {
	if s.lacks(Images) {
		return
	}
	first := s.open(t)
	for i, pod := range []sandbox.Pod{s.annexed(t, first), nil} {
		if pod == nil { // taken over by another agent
			if err := first.Close(); err != nil {
				t.Fatal(err)
			}
			var err error
			if pod, err = s.open(t).Attach(testContext(t), podID(t)); err != nil {
				t.Fatal(err)
			}
		}
		c, ok := pod.(sandbox.Consoles)
		if !ok {
			t.Skip("this sandbox has no consoles")
		}
		seen := func(name, image string, terminal bool) string {
			t.Helper()
			id := fmt.Sprintf("%s%d", name, i)
			con := s.consoleIn(t, c, image, id, "readlink /proc/self/ns/mnt; exit 3", terminal)
			out, err := io.ReadAll(con.Out)
			if exit := s.wait(t, pod, id); err != nil || exit.Code != 3 {
				t.Errorf("%s: %v, exit %s", id, err, describe(exit))
			}
			return strings.TrimSpace(string(out))
		}
		job, own, tty := seen("job", "", false), seen("own", s.backend.Image(), false), seen("tty", s.backend.Image(), true)
		if job == "" || own == "" || own == job || tty != own {
			t.Errorf("the job's container is %q, the step's %q, on a terminal %q", job, own, tty)
		}
	}
}

// consoleEnds with the agent that held it.
func (s *suite) consoleEnds(t *testing.T) {
	first := s.open(t)
	s.console(t, s.pod(t, first), "c1", `trap '' HUP PIPE; while :; do sleep 0.01; done`, false)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	pod, err := s.open(t).Attach(testContext(t), podID(t))
	if err != nil {
		t.Fatal(err)
	}
	if exit := s.wait(t, pod, "c1"); !exit.Stopped {
		t.Errorf("exit %s", describe(exit))
	}
}
