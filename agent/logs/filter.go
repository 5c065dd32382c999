package logs

import (
	"bytes"

	"github.com/slipway-ci/slipway/agent/commands"
)

// Filter turns a step's raw output into its log: masked, with its workflow commands noticed. Like Masker, its output
// and its events depend only on the bytes, not on how they arrive.
//
// The log keeps command lines as the step wrote them; only `::add-mask::` loses its value. A mask applies from the line
// after the one that declared it.
type Filter struct {
	mask    Masker
	onEvent func(commands.Command)
	// line holds the beginning of a line that may become a command.
	line []byte
	// plain: the rest of the current line is known to be no command.
	plain bool
	// stopped is the token of ::stop-commands:: while commands are off.
	stopped string
}

// NewFilter returns a filter that starts with the masks known. onEvent is called for every command, in order.
func NewFilter(masks []string, onEvent func(commands.Command)) *Filter {
	f := &Filter{onEvent: onEvent}
	f.mask.Add(nil, masks...)
	return f
}

// Write appends to out what p lets be decided, and returns it.
func (f *Filter) Write(out, p []byte) []byte {
	for len(p) > 0 {
		if f.plain {
			out, p = f.passLine(out, p)
			continue
		}
		end := bytes.IndexByte(p, '\n')
		part, ended := p, false
		if end >= 0 {
			part, ended = p[:end+1], true
		}
		room := commands.MaxLine - len(f.line)
		if len(part) > room {
			part, ended = part[:room], false
		}
		f.line = append(f.line, part...)
		p = p[len(part):]
		switch {
		case ended:
			out = f.endLine(out)
		case len(f.line) >= commands.MaxLine || !commands.CouldBegin(f.line):
			out = f.mask.Write(out, f.line)
			f.line = f.line[:0]
			f.plain = true
		}
	}
	return out
}

// passLine copies up to the end of the line, or as many whole lines as begin unlike a command.
func (f *Filter) passLine(out, p []byte) (_, rest []byte) {
	n := 0
	for {
		i := bytes.IndexByte(p[n:], '\n')
		if i < 0 {
			return f.mask.Write(out, p), nil
		}
		n += i + 1
		if n == len(p) || p[n] == ':' || p[n] == ' ' || p[n] == '\t' {
			f.plain = false
			return f.mask.Write(out, p[:n]), p[n:]
		}
	}
}

// Changed says whether the log differs from the raw output so far.
func (f *Filter) Changed() bool { return f.mask.changed }

// Close decides all that is held: the stream has ended.
func (f *Filter) Close(out []byte) []byte {
	if len(f.line) > 0 {
		out = f.endLine(out)
	}
	return f.mask.Flush(out)
}

func (f *Filter) endLine(out []byte) []byte {
	text := bytes.TrimSuffix(f.line, []byte("\n"))
	c, ok := commands.ParseLine(string(text))
	switch {
	case !ok:
	case f.stopped != "":
		if c.Name == f.stopped {
			f.stopped = ""
		}
		ok = false
	case c.Name == "stop-commands":
		f.stopped = lower(c.Value)
		ok = false
	}
	if ok && c.Name == "add-mask" {
		return f.hide(out, text, c)
	}
	out = f.mask.Write(out, f.line)
	f.line = f.line[:0]
	if ok {
		f.onEvent(c)
	}
	return out
}

// hide puts out an add-mask line without its value, and lets the mask apply from here.
func (f *Filter) hide(out, text []byte, c commands.Command) []byte {
	head := len(text) - len(bytes.TrimLeft(text, " \t")) + 2
	head += bytes.Index(text[head:], []byte("::")) + 2
	out = f.mask.Write(out, text[:head])
	out = f.mask.Flush(out)
	out = append(out, stars...)
	f.mask.changed = true
	out = append(out, f.line[len(text):]...)
	out = f.mask.Add(out, commands.Masks(c.Value)...)
	f.line = f.line[:0]
	f.onEvent(c)
	return out
}

func lower(s string) string { return string(bytes.ToLower([]byte(s))) }

// Hide masks a whole text, as a log would.
func Hide(text string, masks []string) string {
	if len(masks) == 0 {
		return text
	}
	var m Masker
	m.Add(nil, masks...)
	return string(m.Flush(m.Write(nil, []byte(text))))
}
