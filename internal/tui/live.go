package tui

import (
	"io"
	"time"

	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
)

// Live draws a model on a terminal. Not safe for concurrent use.
type Live struct {
	model   *Model
	painter *Painter
	style   Style
	size    func() Size
	now     func() time.Time
}

// NewLive shows the runs with these ids. size is asked before every frame, so a resize needs no signal.
func NewLive(w io.Writer, style Style, size func() Size, now func() time.Time, runIDs ...string) *Live {
	return &Live{model: NewModel(runIDs...), painter: NewPainter(w), style: style, size: size, now: now}
}

// Run takes a run's newest state.
func (l *Live) Run(r *apiv1.Run) { l.model.Run(r) }

// Log takes output of a run's job.
func (l *Live) Log(runID string, m *apiv1.StreamLogsResponse) { l.model.Log(runID, m) }

// Notice shows a line below the tree.
func (l *Live) Notice(text string) { l.model.Notice(text) }

// Tick draws the next frame.
func (l *Live) Tick() error {
	size := l.size()
	return l.painter.Paint(l.model.Frame(size, l.now(), l.style), size)
}

// Close draws the last frame and gives the terminal back.
func (l *Live) Close() error {
	err := l.Tick()
	if closeErr := l.painter.Close(); err == nil {
		err = closeErr
	}
	return err
}
