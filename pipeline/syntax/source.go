package syntax

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

type style uint8

const (
	plain style = iota
	singleQuoted
	doubleQuoted
	block // literal or folded
)

// source finds places in the file's text.
type source struct {
	text string
	// lines holds the byte offset of each line's begin.
	lines []int
}

// newSource splits at what YAML 1.1 calls a line break, because the reader underneath counts lines so.
func newSource(text string) *source {
	s := &source{text: text, lines: []int{0}}
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRuneInString(text[i:])
		i += n
		switch r {
		case '\r':
			if i < len(text) && text[i] == '\n' {
				i++
			}
			s.lines = append(s.lines, i)
		case '\n', 0x85, 0x2028, 0x2029:
			s.lines = append(s.lines, i)
		}
	}
	return s
}

// offset of a place in bytes, -1 if there is no such place.
func (s *source) offset(p Pos) int {
	if p.Line < 1 || p.Line > len(s.lines) {
		return -1
	}
	at := s.lines[p.Line-1]
	for range p.Column - 1 {
		_, n := utf8.DecodeRuneInString(s.text[at:])
		at += n
	}
	return at
}

// pos of a byte offset, searched from a place at or before it.
func (s *source) pos(at int, from Pos) Pos {
	line := from.Line
	for line < len(s.lines) && s.lines[line] <= at {
		line++
	}
	return Pos{line, utf8.RuneCountInString(s.text[s.lines[line-1]:at]) + 1}
}

// Place returns where the byte at offset of s.Text stands in the file. It walks the source beside the value, counting
// only what is not space, because YAML's folding and indentation change nothing else.
func (f *File) Place(s *Scalar, offset int) Pos {
	at := f.source.offset(s.Pos)
	if at < 0 || f.source == nil {
		return s.Pos
	}
	text := f.source.text
	at = skipProperties(text, at)
	switch s.style {
	case singleQuoted, doubleQuoted:
		at++
	case block:
		for at < len(text) && text[at] != '\n' && text[at] != '\r' {
			at++
		}
	case plain:
	}
	offset = min(offset, len(s.Text))
	count := 0
	for _, r := range s.Text[:offset] {
		if !unicode.IsSpace(r) {
			count++
		}
	}
	for count > 0 && at < len(text) {
		n, isSpace := step(text[at:], s.style)
		at += n
		if !isSpace {
			count--
		}
	}
	if next, _ := utf8.DecodeRuneInString(s.Text[offset:]); offset < len(s.Text) && !unicode.IsSpace(next) {
		for at < len(text) {
			n, isSpace := step(text[at:], s.style)
			if !isSpace {
				break
			}
			at += n
		}
	}
	return f.source.pos(min(at, len(text)), s.Pos)
}

// skipProperties goes past an anchor and a tag before a scalar.
func skipProperties(text string, at int) int {
	for at < len(text) && (text[at] == '&' || text[at] == '!') {
		for at < len(text) && !unicode.IsSpace(rune(text[at])) {
			at++
		}
		for at < len(text) && unicode.IsSpace(rune(text[at])) {
			at++
		}
	}
	return at
}

// step returns the length of the next character as the style writes it, and whether its value is space or nothing.
func step(s string, st style) (n int, isSpace bool) {
	r, n := utf8.DecodeRuneInString(s)
	switch {
	case st == singleQuoted && strings.HasPrefix(s, "''"):
		return 2, false
	case st == doubleQuoted && r == '\\' && len(s) > 1:
		return escape(s)
	}
	return n, unicode.IsSpace(r)
}

// escape reads one escape of a double-quoted scalar.
func escape(s string) (n int, isSpace bool) {
	digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[s[1]]
	if digits > 0 && len(s) >= 2+digits {
		code, err := strconv.ParseUint(s[2:2+digits], 16, 32)
		return 2 + digits, err == nil && unicode.IsSpace(rune(code))
	}
	_, width := utf8.DecodeRuneInString(s[1:])
	return 1 + width, strings.ContainsAny(s[1:1+width], "tnrvfNLP_ \t\n\r")
}
