package tui

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/width"
)

// runeWidth is how many columns a terminal gives r: 0 for combining marks, 2 for wide East Asian characters and most
// emoji, 1 otherwise (also for those whose width is ambiguous).
func runeWidth(r rune) int {
	switch {
	case r < 0x7f:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return 0
	}
	if k := width.LookupRune(r).Kind(); k == width.EastAsianWide || k == width.EastAsianFullwidth {
		return 2
	}
	return 1
}

// textWidth is how many columns s takes; s holds no control characters.
func textWidth(s string) int {
	n := 0
	for _, r := range s {
		n += runeWidth(r)
	}
	return n
}

// fit shortens s to at most columns, with an ellipsis where something was cut.
func fit(s string, columns int, ellipsis string) string {
	if textWidth(s) <= columns {
		return s
	}
	room := columns - textWidth(ellipsis)
	if room < 0 {
		return ""
	}
	n := 0
	for i, r := range s {
		if n += runeWidth(r); n > room {
			return s[:i] + ellipsis
		}
	}
	return s
}

// Clean makes one line of what others chose safe to place on a screen: see clean.
func Clean(line string) string { return clean(line) }

// clean makes one line of output safe to place on a screen: no escape sequences or control characters, tabs as spaces,
// invalid UTF-8 replaced, and of a line that a progress bar overwrote only the last state.
func clean(line string) string {
	line = strings.TrimRight(line, "\r\n")
	if i := strings.LastIndexByte(line, '\r'); i >= 0 {
		line = line[i+1:]
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t', r == '\n':
			return ' '
		case unicode.IsControl(r), r == '\u2028', r == '\u2029':
			return -1
		case r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069: // Direction overrides could disguise a line.
			return -1
		}
		return r
	}, stripEscapes(strings.ToValidUTF8(line, "\ufffd"), false))
}

// stripEscapes removes ANSI escape sequences; with keepColour those that only set colours stay.
func stripEscapes(s string, keepColour bool) string {
	if !strings.ContainsRune(s, '\x1b') {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		if s[i] != '\x1b' {
			_, n := utf8.DecodeRuneInString(s[i:])
			b.WriteString(s[i : i+n])
			i += n
			continue
		}
		end, colour := escapeEnd(s, i)
		if colour && keepColour {
			b.WriteString(s[i:end])
		}
		i = end
	}
	return b.String()
}

// escapeEnd returns where the escape sequence at i ends (ECMA-48: CSI, OSC and other strings, two-byte escapes), and
// whether it is SGR.
func escapeEnd(s string, i int) (end int, colour bool) {
	if i+1 >= len(s) {
		return len(s), false
	}
	switch s[i+1] {
	case '[':
		for j := i + 2; j < len(s); j++ {
			if s[j] >= 0x40 && s[j] <= 0x7e {
				// With other parameters `m` is no colour: `CSI > … m` changes what keys send.
				return j + 1, s[j] == 'm' && strings.Trim(s[i+2:j], "0123456789;:") == ""
			}
		}
		return len(s), false
	case ']', 'P', 'X', '^', '_':
		for j := i + 2; j < len(s); j++ {
			if s[j] == '\a' {
				return j + 1, false
			}
			if s[j] == '\x1b' && j+1 < len(s) && s[j+1] == '\\' {
				return j + 2, false
			}
		}
		return len(s), false
	}
	_, n := utf8.DecodeRuneInString(s[i+1:])
	return i + 1 + n, false
}

// printable makes a line of output safe for plain printing: colours may stay, everything else that moves the cursor or
// talks to the terminal goes.
func printable(line string, colours bool) string {
	line = strings.TrimRight(line, "\r\n")
	if i := strings.LastIndexByte(line, '\r'); i >= 0 {
		line = line[i+1:]
	}
	line = stripEscapes(line, colours)
	coloured := colours && strings.Contains(line, "\x1b[")
	line = strings.Map(func(r rune) rune {
		if r != '\t' && r != '\x1b' && unicode.IsControl(r) {
			return -1
		}
		return r
	}, line)
	if coloured {
		line += "\x1b[0m"
	}
	return line
}
