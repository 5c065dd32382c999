package sandbox

import (
	"context"
	"errors"
	"io"
)

// ErrConsole: this pod was made by an older agent, whose supervisor can't start consoles.
var ErrConsole = errors.New("sandbox: the pod was made by an older agent, so no command can be run in it")

// Consoles is a capability of a Pod in which people may look around.
type Consoles interface {
	// Console starts a process as Start does, confined as a step, but with its input and output in the caller's hands; spec.Output is
	// not used. Wait and Stop are those of a step. With its process, what it started ends; and so it does when this
	// process of the agent ends. The caller closes the console.
	Console(ctx context.Context, spec StepSpec, terminal bool) (*Console, error)
}

// Console is the caller's end of a process's input and output.
type Console struct {
	In io.WriteCloser
	// Out ends when nobody has the other end any more.
	Out io.ReadCloser
	// Err is nil with a terminal: then all is in Out.
	Err io.ReadCloser
	// Resize is nil without a terminal.
	Resize func(rows, columns uint16) error
}

// Close closes everything; blocked reads and writes return.
func (c *Console) Close() {
	_, _ = c.In.Close(), c.Out.Close()
	if c.Err != nil {
		_ = c.Err.Close()
	}
}
