// Package console connects the user's terminal, or pipes, with a command in a held pod.
package console

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/slipway-ci/slipway/internal/tui"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	"github.com/slipway-ci/slipway/sdk/client"
)

// Request says what to run where.
type Request struct {
	Run, Job string
	// Step whose place the command gets; 0 is the one that failed.
	Step uint32
	// Command; empty is a shell.
	Command []string
	// NoTerminal: pipes even on a terminal.
	NoTerminal bool
	// Release lets the pod go after the command.
	Release bool
	Term    string
}

// API is what Run needs of sdk/client.
type API interface {
	Debug(ctx context.Context, open *apiv1.DebugOpen, t client.DebugIO) (*corev1.TerminalExit, error)
	ReleaseJob(ctx context.Context, run, job string) (string, error)
}

// Run runs the command to its end and returns its exit code. A terminal is as it was before when Run returns.
func Run(ctx context.Context, api API, r Request, out, errOut io.Writer) (code int, err error) {
	fd := int(os.Stdin.Fd())
	terminal := !r.NoTerminal && term.IsTerminal(fd)
	open := &apiv1.DebugOpen{RunId: r.Run, JobId: r.Job, Step: r.Step, Command: r.Command, Tty: terminal}
	in, err := newInput(os.Stdin)
	if err != nil {
		return 0, err
	}
	defer in.end()
	t := client.DebugIO{In: in, Out: out, Err: errOut}
	job := r.Job
	var restore func()
	if terminal {
		open.Term, open.Size = r.Term, sizeOf(fd)
		sizes := make(chan *corev1.TerminalSize, 1)
		stop := watchSize(fd, sizes)
		defer stop()
		t.Sizes = sizes
	}
	t.Opened = func(o *apiv1.DebugOpened) {
		job = o.GetJobId()
		if !terminal {
			return
		}
		fmt.Fprintf(errOut, "slipway: in job %s on %s, held until %s; leave with exit\n", o.GetJobId(), o.GetHostname(), time.UnixMilli(o.GetHeld().GetUntilMs()).Format(time.TimeOnly))
		// Only now: an error before is read as a line, and Ctrl-C ends the waiting.
		if state, rawErr := term.MakeRaw(fd); rawErr == nil {
			restore = func() { _ = term.Restore(fd, state) }
		}
	}
	t.Placed = func(p *corev1.TerminalPlace) {
		if terminal {
			fmt.Fprintf(errOut, "slipway: %s\r\n", where(p))
		}
	}
	exit, err := api.Debug(ctx, open, t)
	in.end()
	if restore != nil {
		restore()
	}
	if err != nil {
		return 0, err
	}
	if exit.GetMessage() != "" {
		fmt.Fprintf(errOut, "slipway: %s\n", exit.GetMessage())
	}
	if r.Release || terminal && len(r.Command) == 0 && ask(errOut, job) {
		if _, err := api.ReleaseJob(ctx, r.Run, job); err != nil && !gone(err) {
			return 0, err
		}
		fmt.Fprintf(errOut, "slipway: the pod of job %s is let go\n", job)
	}
	return int(exit.GetCode()), nil
}

// where says in which container a command runs, and whose directory and environment it has.
func where(p *corev1.TerminalPlace) string {
	container := "the job's container"
	if p.GetImage() != "" {
		container = "the step's own container, of " + tui.Clean(p.GetImage())
	}
	if p.GetStep() == 0 {
		return "this is " + container
	}
	return fmt.Sprintf("this is %s, as step %d has it: %s", container, p.GetStep(), tui.Clean(p.GetStepName()))
}

// gone says that there was nothing left to let go.
func gone(err error) bool {
	var e *client.Error
	return errors.As(err, &e) && e.Reason == "HOLD_OVER"
}

func ask(w io.Writer, job string) bool {
	fmt.Fprintf(w, "slipway: let the pod of job %s go? [y/N] ", job)
	line, _ := bufio.NewReader(os.Stdin).ReadString('\n') // its end is a no
	return strings.EqualFold(strings.TrimSpace(line), "y")
}

func sizeOf(fd int) *corev1.TerminalSize {
	columns, rows, err := term.GetSize(fd)
	if err != nil || columns <= 0 || rows <= 0 {
		return &corev1.TerminalSize{Rows: 24, Columns: 80}
	}
	return &corev1.TerminalSize{Rows: uint32(rows), Columns: uint32(columns)}
}

// watchSize puts the terminal's newest size into sizes whenever it changes.
func watchSize(fd int, sizes chan *corev1.TerminalSize) (stop func()) {
	changed, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(changed, syscall.SIGWINCH)
	go func() {
		for {
			select {
			case <-done:
				return
			case <-changed:
			}
			select { // the newest counts
			case <-sizes:
			default:
			}
			sizes <- sizeOf(fd)
		}
	}()
	return func() {
		signal.Stop(changed)
		close(done)
	}
}
