package follow

import (
	"io"

	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"

	"github.com/slipway-ci/slipway/internal/tui"
)

// plainDisplay adapts tui.Plain.
type plainDisplay struct{ *tui.Plain }

// Plain is a Display of prefixed lines.
func Plain(w io.Writer, colour, many bool) Display {
	return plainDisplay{tui.NewPlain(w, colour, many)}
}

// Tick implements Display.
func (p plainDisplay) Tick() error {
	p.Plain.Tick()
	return p.Err()
}

// Close implements Display.
func (p plainDisplay) Close() error {
	p.Plain.Close()
	return p.Err()
}

// logsOnly shows what steps print, and of states nothing.
type logsOnly struct{ plainDisplay }

// LogsOnly is a Display of prefixed lines without Slipway's own.
func LogsOnly(w io.Writer, colour bool) Display {
	return logsOnly{plainDisplay{tui.NewPlain(w, colour, false)}}
}

// Run implements Display.
func (l logsOnly) Run(r *apiv1.Run) { l.Learn(r) }

// quiet shows nothing but keeps Follow's contract: for `-o json`.
type quiet struct{}

// Quiet is a Display that shows nothing.
func Quiet() Display { return quiet{} }

func (quiet) Run(*apiv1.Run)                        {}
func (quiet) Log(string, *apiv1.StreamLogsResponse) {}
func (quiet) Notice(string)                         {}
func (quiet) Tick() error                           { return nil }
func (quiet) Close() error                          { return nil }
