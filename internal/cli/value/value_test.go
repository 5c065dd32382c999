package value

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/slipway-ci/slipway/internal/cli/exit"
)

func never() (<-chan os.Signal, func()) { return nil, func() {} }

func TestReadsFilesAsTheyAreAndInputWithoutItsLastLineBreak(t *testing.T) {
	path := filepath.Join(t.TempDir(), "value")
	for _, tt := range []struct{ text, piped string }{
		{"one\n", "one"}, {"one\r\n", "one"}, {"one\ntwo\n\n", "one\ntwo\n"}, {"", ""}, {" x ", " x "},
	} {
		if err := os.WriteFile(path, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := (Source{File: path}).Read(t.Context(), ""); err != nil || got != tt.text {
			t.Errorf("file %q: %q, %v", tt.text, got, err)
		}
		in, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := (Source{In: in, Interrupts: never}).Read(t.Context(), ""); err != nil || got != tt.piped {
			t.Errorf("input %q: %q, %v, want %q", tt.text, got, err, tt.piped)
		}
		_ = in.Close()
	}
	if _, err := (Source{File: path + "x"}).Read(t.Context(), ""); exit.Of(err) != exit.Invalid {
		t.Errorf("a file that is not there: %v, want exit code 2", err)
	}
	if err := os.WriteFile(path, bytes.Repeat([]byte("x"), most+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := (Source{File: path}).Read(t.Context(), ""); exit.Of(err) != exit.Invalid {
		t.Errorf("a file that is too large: %v, want exit code 2", err)
	}
}

// terminals stay open: who gave up on reading one still has it.
var terminals []*os.File

// terminal returns both ends of a pseudo terminal.
func terminal(t *testing.T) (user, process *os.File) {
	t.Helper()
	user, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(user.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(user.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	process, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	terminals = append(terminals, user, process)
	return user, process
}

// prompted tells when the prompt was written.
type prompted struct {
	bytes.Buffer
	seen chan struct{}
}

func (p *prompted) Write(b []byte) (int, error) {
	if bytes.HasSuffix(b, []byte(": ")) {
		close(p.seen)
	}
	return p.Buffer.Write(b)
}

// echoes is whether a terminal shows what is typed.
func echoes(t *testing.T, f *os.File) bool {
	t.Helper()
	state, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		t.Error(err)
		return false
	}
	return state.Lflag&unix.ECHO != 0
}

func TestATerminalIsAskedWithoutEcho(t *testing.T) {
	user, process := terminal(t)
	said := &prompted{seen: make(chan struct{})}
	go func() {
		<-said.seen
		for echoes(t, process) { //nolint:revive // what is typed before would be shown, as at any terminal
		}
		_, _ = io.WriteString(user, "s3cret\n")
	}()
	got, err := (Source{In: process, Err: said, Interrupts: never}).Read(t.Context(), "Value of A")
	if err != nil || got != "s3cret" || said.String() != "Value of A: \n" {
		t.Errorf("%q, %v, said %q", got, err, said)
	}
	if !echoes(t, process) {
		t.Error("the terminal does not echo any more")
	}
}

func TestAnInterruptLeavesTheTerminalAsItWas(t *testing.T) {
	_, process := terminal(t)
	said := &prompted{seen: make(chan struct{})}
	c := make(chan os.Signal, 1)
	go func() {
		<-said.seen
		for echoes(t, process) { //nolint:revive // until it was changed
		}
		c <- os.Interrupt
	}()
	_, err := (Source{In: process, Err: said, Interrupts: func() (<-chan os.Signal, func()) { return c, func() {} }}).Read(t.Context(), "Value")
	if exit.Of(err) != exit.Cancelled || !echoes(t, process) || strings.Contains(said.String(), "cret") {
		t.Errorf("%v, echo %v", err, echoes(t, process))
	}
}
