package planview

import (
	"encoding/json"
	"io"

	"github.com/slipway-ci/slipway/internal/tui"
)

// The formats of a plan.
const (
	Text = "text"
	JSON = "json"
	Dot  = "dot"
)

// IsFormat reports whether there is a format of that name.
func IsFormat(name string) bool { return name == Text || name == JSON || name == Dot }

// Write writes workflows in a format. Only text looks at the style and the terminal's width, 0 without one.
func Write(w io.Writer, all []*Workflow, format string, style tui.Style, width int) error {
	switch format {
	case JSON:
		enc := json.NewEncoder(w)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		return enc.Encode(all)
	case Dot:
		return writeDOT(w, all)
	}
	return writeText(w, all, style, width)
}
