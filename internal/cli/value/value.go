// Package value reads a secret or a variable from where no other process sees it: a file, standard input, or a terminal without echo.
package value

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/slipway-ci/slipway/internal/cli/exit"
)

// most bytes that are read: more than a coordinator takes, so that it says how much that is.
const most = 64 << 10

// Source is where a value comes from.
type Source struct {
	// File is read as it is; "" is In.
	File string
	// In is standard input. From a terminal one line is read, without echo, after a prompt on Err; of anything else all, without one line break
	// at its end.
	In  *os.File
	Err io.Writer
	// Interrupts delivers the user's Ctrl-C from the call on.
	Interrupts func() (<-chan os.Signal, func())
}

// Read returns the value. Errors have exit codes.
func (s Source) Read(ctx context.Context, prompt string) (string, error) {
	switch {
	case s.File != "":
		f, err := os.Open(s.File)
		if err != nil {
			return "", exit.With(exit.Invalid, err)
		}
		defer func() { _ = f.Close() }()
		return all(f)
	case term.IsTerminal(int(s.In.Fd())):
		return s.ask(ctx, prompt)
	}
	text, err := all(s.In)
	text = strings.TrimSuffix(text, "\n")
	return strings.TrimSuffix(text, "\r"), err
}

func all(r io.Reader) (string, error) {
	data, err := io.ReadAll(io.LimitReader(r, most+1))
	if err == nil && len(data) > most {
		err = fmt.Errorf("the value has more than %d bytes", most)
	}
	return string(data), exit.With(exit.Invalid, err)
}

// ask reads a line without echo. A Ctrl-C leaves the terminal as it was.
func (s Source) ask(ctx context.Context, prompt string) (string, error) {
	fd := int(s.In.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", exit.With(exit.System, err)
	}
	interrupts, stop := s.Interrupts()
	defer stop()
	if _, err := fmt.Fprintf(s.Err, "%s: ", prompt); err != nil {
		return "", exit.With(exit.System, err)
	}
	type answer struct {
		line []byte
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		line, err := term.ReadPassword(fd)
		answers <- answer{line, err}
	}()
	select {
	case a := <-answers:
		_, err := fmt.Fprintln(s.Err)
		return string(a.line), exit.With(exit.Invalid, errors.Join(a.err, err))
	case <-interrupts:
	case <-ctx.Done():
	}
	// The goroutine reads on; the process ends.
	err = term.Restore(fd, before)
	_, _ = fmt.Fprintln(s.Err)
	return "", errors.Join(exit.Silent(exit.Cancelled), err)
}
