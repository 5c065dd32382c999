package logs

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/slipway-ci/slipway/agent/commands"
)

// Filter turns a step's raw output into its log: masked, with its workflow commands noticed. Like Masker, its output
// and its events depend only on the bytes, not on how they arrive.
//
// The log keeps command lines as the step wrote them; only `::add-mask::` loses its value, and `::debug::` lines are left
// out unless somebody debugs. A mask applies from the line after the one that declared it. What follows a mask too many
// is hidden altogether: it might hold that mask's value.
type Filter struct {
	mask    Masker
	onEvent func(commands.Command)
	// line holds the beginning of a line that may become a command.
	line []byte
	// plain: the rest of the current line is known to be no command.
	plain bool
	// stopped is the token of ::stop-commands:: while commands are off.
	stopped string
	// own: the set of masks is this filter's, so it may grow.
	own bool
	// debug keeps the lines of ::debug::.
	debug bool
	// full: there were too many masks.
	full bool
	// dropped: a line was left out.
	dropped bool
}

// NewFilter returns a filter that starts with the masks known. debug keeps the lines of ::debug::. onEvent is called for
// every command, in order.
func NewFilter(masks *Masks, debug bool, onEvent func(commands.Command)) *Filter {
	return &Filter{onEvent: onEvent, mask: Masker{masks: masks}, debug: debug, full: masks.Full()}
}

// Write appends to out what p lets be decided, and returns it.
func (f *Filter) Write(out, p []byte) []byte {
	for len(p) > 0 && !f.full {
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
		case len(f.line) >= commands.MaxLine && f.hides():
			out = append(f.mask.Flush(out), "::add-mask::***\n"...)
			f.line = f.line[:0]
			return f.fill(out)
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
func (f *Filter) Changed() bool { return f.mask.changed || f.dropped || f.full }

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
	case c.Name == "stop-commands" && c.Refused() == "":
		f.stopped = strings.ToLower(c.Value)
		ok = false
	}
	switch {
	case ok && c.Name == "add-mask":
		return f.hide(out, text, c)
	case ok && c.Name == "debug" && !f.debug:
		f.dropped = true
	default:
		out = f.mask.Write(out, f.line)
	}
	f.line = f.line[:0]
	if ok {
		f.onEvent(c)
	}
	return out
}

// hide puts out an add-mask line without its value, and lets the mask apply from here.
func (f *Filter) hide(out, text []byte, c commands.Command) []byte {
	out = f.mask.Flush(out)
	out = append(out, text[:len(text)-len(bytes.TrimLeft(text, " \t"))]...)
	out = append(out, "::add-mask::***"...)
	out = append(out, f.line[len(text):]...)
	f.mask.changed = true
	f.line = f.line[:0]
	if !f.own {
		f.mask.masks, f.own = f.mask.masks.clone(), true
	}
	out = f.mask.Add(out, c.Value)
	if f.mask.masks.Full() {
		return f.fill(out)
	}
	f.onEvent(c)
	return out
}

// hides says whether a line that is too long for a command would hide a value: it must not be shown for that.
func (f *Filter) hides() bool {
	c, ok := commands.ParseLine(string(f.line))
	return ok && f.stopped == "" && c.Name == "add-mask"
}

// fill hides all that follows.
func (f *Filter) fill(out []byte) []byte {
	f.full = true
	return fmt.Appendf(out, "%s: the rest of this output is hidden.\n", TooMany)
}

// TooMany says what is wrong with a job whose set of masks is full.
var TooMany = fmt.Sprintf("The job masks more than %d values, or more than %d KiB of them in all their encoded forms, or one in a line of more than %d KiB",
	MaxMasks, MaxMaskBytes>>10, commands.MaxLine>>10)

// Full says whether there were more masks than there may be.
func (f *Filter) Full() bool { return f.full }
