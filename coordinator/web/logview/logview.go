// Package logview turns the bytes of a step's log into lines of HTML that are safe to show, whatever the step wrote: text is escaped,
// colours become classes, and nothing else of what a terminal would obey is left. Workflow commands become what they mean. Pure.
package logview

import (
	"bytes"
	"html/template"
	"strings"
)

// Kind says what a line is.
type Kind int

// The kinds of lines.
const (
	Text Kind = iota
	// Group opens one, EndGroup closes the innermost; an EndGroup without HTML has no text of its own.
	Group
	EndGroup
	Error
	Warning
	Notice
	Debug
)

// Line of a log.
type Line struct {
	Kind Kind
	HTML template.HTML
}

// MaxLine is how many bytes of a line are shown as one; a longer one is broken.
const MaxLine = 8 << 10

// Renderer takes a log piece by piece. The zero value begins one. It shows a line once it is whole. Not safe for concurrent use.
type Renderer struct {
	pen pen
	// line is the beginning of a line whose end has not come; broken: an earlier part of it was shown already.
	line   []byte
	broken bool
	// stopped is the token of ::stop-commands:: while commands are off.
	stopped string
}

// Pending is how many bytes are in no line yet.
func (r *Renderer) Pending() int { return len(r.line) }

// Write takes the next bytes and returns the lines that they end.
func (r *Renderer) Write(p []byte) []Line {
	var out []Line
	for len(p) > 0 {
		end := bytes.IndexByte(p, '\n')
		part := p
		if end >= 0 {
			part = p[:end]
		}
		if room := MaxLine - len(r.line); len(part) > room {
			r.line = append(r.line, part[:room]...)
			p = p[room:]
			out = append(out, r.take())
			r.broken = true
			continue
		}
		r.line = append(r.line, part...)
		if end < 0 {
			return out
		}
		out = append(out, r.take())
		r.broken = false
		p = p[end+1:]
	}
	return out
}

// Close returns what is left of a line without an end.
func (r *Renderer) Close() []Line {
	if len(r.line) == 0 {
		return nil
	}
	return []Line{r.take()}
}

func (r *Renderer) take() Line {
	text := string(r.line)
	r.line = r.line[:0]
	if !r.broken {
		if l, ok := r.command(text); ok {
			return l
		}
	}
	return Line{Kind: Text, HTML: r.pen.html(text)}
}

var kinds = map[string]Kind{"group": Group, "endgroup": EndGroup, "error": Error, "warning": Warning, "notice": Notice, "debug": Debug}

// command reads a workflow command that is for the log's reader; others stay as they were written.
func (r *Renderer) command(text string) (Line, bool) {
	name, value, ok := parse(text)
	switch {
	case !ok:
		return Line{}, false
	case r.stopped != "":
		if name == r.stopped {
			r.stopped = ""
		}
		return Line{}, false
	case name == "stop-commands":
		r.stopped = strings.ToLower(value)
		return Line{}, false
	}
	kind, ok := kinds[name]
	if !ok {
		return Line{}, false
	}
	// What a colour before it began ends here.
	r.pen = pen{}
	if kind == EndGroup {
		return Line{Kind: kind}, true
	}
	p := pen{}
	return Line{Kind: kind, HTML: p.html(unescape(value))}, true
}

// parse reads `::name params::value` and `##[name]value`, as GitHub's runner writes them. The name is in lower case.
func parse(text string) (name, value string, ok bool) {
	text = strings.TrimSuffix(strings.TrimLeft(text, " \t"), "\r")
	if rest, found := strings.CutPrefix(text, "##["); found {
		name, value, ok = strings.Cut(rest, "]")
	} else if rest, found := strings.CutPrefix(text, "::"); found {
		name, value, ok = strings.Cut(rest, "::")
	}
	name, _, _ = strings.Cut(name, " ")
	return strings.ToLower(name), value, ok && name != ""
}

// unescape undoes a command's escapes; a line break becomes a space, for a line is one.
func unescape(s string) string {
	return strings.NewReplacer("%0D", " ", "%0A", " ", "%0d", " ", "%0a", " ", "%25", "%").Replace(s)
}
