package tui

import (
	"fmt"
	"io"
	"strings"
)

// Control sequences (ECMA-48; 2026 is synchronised output, which terminals that don't know it ignore).
const (
	hideCursor = "\x1b[?25l"
	showCursor = "\x1b[?25h"
	beginSync  = "\x1b[?2026h"
	endSync    = "\x1b[?2026l"
	eraseLine  = "\x1b[K"
	eraseBelow = "\x1b[J"
	wipe       = "\x1b[H\x1b[2J"
)

// Painter keeps a block of lines at the cursor up to date. Each Paint is one write that changes only the lines that
// differ, so nothing flickers. After a resize nobody can know how the terminal moved the old block about, so the screen
// is wiped once and drawn anew.
type Painter struct {
	w      io.Writer
	prev   []string
	size   Size
	hidden bool
}

// NewPainter draws on w, whose cursor stands at the beginning of a line.
func NewPainter(w io.Writer) *Painter { return &Painter{w: w} }

// Paint replaces the block by lines, which fit into size as Frame's do.
func (p *Painter) Paint(lines []string, size Size) error {
	var b strings.Builder
	b.WriteString(beginSync)
	if !p.hidden {
		b.WriteString(hideCursor)
		p.hidden = true
	}
	if p.size != size && p.size != (Size{}) && len(p.prev) > 0 {
		b.WriteString(wipe)
		p.prev = nil
	}
	p.size = size
	head := b.Len()
	b.WriteString("\r")
	if n := len(p.prev); n > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", n)
	}
	same := len(lines) == len(p.prev)
	for i, l := range lines {
		if i < len(p.prev) && p.prev[i] == l {
			b.WriteString("\r\n")
			continue
		}
		same = false
		b.WriteString(l + eraseLine + "\r\n")
	}
	// Also when nothing shrank: the terminal may have echoed a ^C below the block.
	b.WriteString(eraseBelow)
	if same && head == len(beginSync) {
		return nil
	}
	b.WriteString(endSync)
	p.prev = append(p.prev[:0:0], lines...)
	_, err := io.WriteString(p.w, b.String())
	return err
}

// Close leaves the block as it is, puts the cursor below and shows it again.
func (p *Painter) Close() error {
	if !p.hidden {
		return nil
	}
	p.hidden, p.prev = false, nil
	_, err := io.WriteString(p.w, "\r"+eraseBelow+showCursor)
	return err
}
