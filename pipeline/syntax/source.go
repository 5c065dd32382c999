package syntax

import (
	"sort"
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
	mark  mark
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

// mark is a place that was found: a line, a byte offset in it, and the column there. The next search on the line begins at
// it, so that finding many places costs no more than reading the file once, even if the file is one line.
type mark struct{ line, at, column int }

// from returns the mark, if it lies on the line and not behind what is looked for; else the line's begin.
func (s *source) from(line int, notBehind func(mark) bool) mark {
	if s.mark.line == line && notBehind(s.mark) {
		return s.mark
	}
	return mark{line, s.lines[line-1], 1}
}

// offset of a place in bytes, -1 if there is no such place.
func (s *source) offset(p Pos) int {
	if p.Line < 1 || p.Line > len(s.lines) {
		return -1
	}
	m := s.from(p.Line, func(m mark) bool { return m.column <= p.Column })
	for ; m.column < p.Column; m.column++ {
		_, n := utf8.DecodeRuneInString(s.text[m.at:])
		m.at += n
	}
	s.mark = m
	return m.at
}

// pos of a byte offset.
func (s *source) pos(at int) Pos {
	line := sort.Search(len(s.lines), func(i int) bool { return s.lines[i] > at })
	m := s.from(line, func(m mark) bool { return m.at <= at })
	m.column += utf8.RuneCountInString(s.text[m.at:at])
	m.at = at
	s.mark = m
	return Pos{line, m.column}
}

// cursor is how far Place has walked in a scalar: to an offset of its text, which stands at a byte of the source.
type cursor struct {
	scalar     *Scalar
	offset, at int
}

// Place returns where the byte at offset of s.Text stands in the file. It walks the source beside the value, counting
// only what is not space, because YAML's folding and indentation change nothing else. It remembers where it was: not for
// concurrent use.
func (f *File) Place(s *Scalar, offset int) Pos {
	begin := f.source.offset(s.Pos)
	if begin < 0 {
		return s.Pos
	}
	offset = min(offset, len(s.Text))
	c := f.cursor
	if c.scalar != s || c.offset > offset {
		c = cursor{s, 0, f.source.content(begin, s.style)}
	}
	text := f.source.text
	count := 0
	for _, r := range s.Text[c.offset:offset] {
		if !unicode.IsSpace(r) {
			count++
		}
	}
	for count > 0 && c.at < len(text) {
		n, isSpace := step(text[c.at:], s.style)
		c.at += n
		if !isSpace {
			count--
		}
	}
	c.offset = offset
	next, _ := utf8.DecodeRuneInString(s.Text[offset:])
	if offset == len(s.Text) || utf8.RuneStart(s.Text[offset]) {
		f.cursor = c
	}
	if offset < len(s.Text) && !unicode.IsSpace(next) {
		for c.at < len(text) {
			n, isSpace := step(text[c.at:], s.style)
			if !isSpace {
				break
			}
			c.at += n
		}
	}
	return f.source.pos(min(c.at, len(text)))
}

// content is where the text of a scalar begins that stands at a byte, with its quotes and properties.
func (s *source) content(at int, st style) int {
	at = skipProperties(s.text, at)
	switch st {
	case singleQuoted, doubleQuoted:
		at++
	case block:
		for at < len(s.text) && s.text[at] != '\n' && s.text[at] != '\r' {
			at++
		}
	case plain:
	}
	return at
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
