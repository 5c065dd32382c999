package logview

import (
	"html/template"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// pen is how text looks from here on: what SGR sequences (ECMA-48, 8.3.117) have set. A colour is -1 for the page's own, 0 to 255 from
// xterm's table; it is stored with 1 added, so that the zero value is plain.
type pen struct {
	fg, bg                                        int
	bold, dim, italic, underline, inverse, strike bool
}

// class names the pen for a style sheet; "" is plain.
func (p pen) class() string {
	var out []string
	fg, bg := p.fg, p.bg
	if p.inverse {
		out = append(out, "inv")
		fg, bg = bg, fg
	}
	if fg > 0 {
		out = append(out, "f"+strconv.Itoa(fg-1))
	}
	if bg > 0 {
		out = append(out, "b"+strconv.Itoa(bg-1))
	}
	for _, s := range []struct {
		on   bool
		name string
	}{{p.bold, "bd"}, {p.dim, "dm"}, {p.italic, "it"}, {p.underline, "ul"}, {p.strike, "st"}} {
		if s.on {
			out = append(out, s.name)
		}
	}
	return strings.Join(out, " ")
}

// html shows one line and moves the pen. Of a line that was overwritten with carriage returns the last state is shown.
func (p *pen) html(line string) template.HTML {
	line = strings.TrimRight(line, "\r")
	from := strings.LastIndexByte(line, '\r') + 1
	var b strings.Builder
	open := ""
	for i := 0; i < len(line); {
		if line[i] == 0x1b {
			i = p.escape(line, i)
			continue
		}
		r, n := utf8.DecodeRuneInString(line[i:])
		if i >= from && visible(r) {
			if class := p.class(); class != open {
				closeSpan(&b, open)
				if class != "" {
					b.WriteString(`<span class="` + class + `">`)
				}
				open = class
			}
			writeRune(&b, r)
		}
		i += n
	}
	closeSpan(&b, open)
	return template.HTML(b.String()) //nolint:gosec // every rune went through writeRune, every class is our own
}

func closeSpan(b *strings.Builder, class string) {
	if class != "" {
		b.WriteString("</span>")
	}
}

func writeRune(b *strings.Builder, r rune) {
	switch r {
	case '<':
		b.WriteString("&lt;")
	case '>':
		b.WriteString("&gt;")
	case '&':
		b.WriteString("&amp;")
	case '"':
		b.WriteString("&#34;")
	case '\'':
		b.WriteString("&#39;")
	default:
		b.WriteRune(r)
	}
}

// visible leaves out control characters, and overrides of direction, which could disguise a line.
func visible(r rune) bool {
	switch {
	case r == '\t':
		return true
	case unicode.IsControl(r), r == '\u2028', r == '\u2029', r == '\u200e', r == '\u200f', r == '\u061c':
		return false
	case r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
		return false
	}
	return true
}

// escape obeys the sequence at i if it is SGR, and returns where it ends.
func (p *pen) escape(s string, i int) int {
	if i+1 >= len(s) {
		return len(s)
	}
	switch s[i+1] {
	case '[':
		for j := i + 2; j < len(s); j++ {
			if s[j] < 0x40 || s[j] > 0x7e {
				continue
			}
			if params := s[i+2 : j]; s[j] == 'm' && strings.Trim(params, "0123456789;:") == "" {
				p.sgr(params)
			}
			return j + 1
		}
		return len(s)
	case ']', 'P', 'X', '^', '_':
		for j := i + 2; j < len(s); j++ {
			if s[j] == '\a' {
				return j + 1
			}
			if s[j] == 0x1b && j+1 < len(s) && s[j+1] == '\\' {
				return j + 2
			}
		}
		return len(s)
	}
	_, n := utf8.DecodeRuneInString(s[i+1:])
	return i + 1 + n
}

// maxParams of one sequence: no program writes more.
const maxParams = 32

func (p *pen) sgr(params string) {
	fields := strings.FieldsFunc(params, func(r rune) bool { return r == ';' || r == ':' })
	if strings.Trim(params, ";:") == "" {
		fields = []string{"0"}
	}
	if len(fields) > maxParams {
		fields = fields[:maxParams]
	}
	n := make([]int, len(fields))
	for i, f := range fields {
		n[i], _ = strconv.Atoi(f)
	}
	for i := 0; i < len(n); i++ {
		switch c := n[i]; c {
		case 38, 48:
			colour, used := extended(n[i+1:])
			i += used
			if colour >= 0 && c == 38 {
				p.fg = colour + 1
			} else if colour >= 0 {
				p.bg = colour + 1
			}
		default:
			p.set(c)
		}
	}
}

func (p *pen) set(c int) {
	switch {
	case c == 0:
		*p = pen{}
	case c == 1:
		p.bold = true
	case c == 2:
		p.dim = true
	case c == 3:
		p.italic = true
	case c == 4:
		p.underline = true
	case c == 7:
		p.inverse = true
	case c == 9:
		p.strike = true
	case c == 22:
		p.bold, p.dim = false, false
	case c == 23:
		p.italic = false
	case c == 24:
		p.underline = false
	case c == 27:
		p.inverse = false
	case c == 29:
		p.strike = false
	case c >= 30 && c <= 37:
		p.fg = c - 30 + 1
	case c == 39:
		p.fg = 0
	case c >= 40 && c <= 47:
		p.bg = c - 40 + 1
	case c == 49:
		p.bg = 0
	case c >= 90 && c <= 97:
		p.fg = c - 90 + 8 + 1
	case c >= 100 && c <= 107:
		p.bg = c - 100 + 8 + 1
	}
}

// extended reads what follows 38 or 48: `5;n`, or `2;r;g;b`, of which the nearest colour of the table's cube is taken. -1 is none.
func extended(n []int) (colour, used int) {
	switch {
	case len(n) >= 2 && n[0] == 5:
		if n[1] > 255 {
			return -1, 2
		}
		return n[1], 2
	case len(n) >= 4 && n[0] == 2:
		return 16 + 36*cube(n[1]) + 6*cube(n[2]) + cube(n[3]), 4
	}
	return -1, len(n)
}

// steps of xterm's cube of 216 colours.
var steps = [6]int{0, 95, 135, 175, 215, 255}

func cube(v int) int {
	best := 0
	for i, s := range steps {
		if abs(v-s) < abs(v-steps[best]) {
			best = i
		}
	}
	return best
}

func abs(n int) int {
	if n < 0 {
		return -n
	}
	return n
}

// RGB is a colour of xterm's table from 16 on; the first 16 are the style sheet's.
func RGB(n int) (r, g, b int) {
	if n >= 232 {
		v := 8 + 10*(n-232)
		return v, v, v
	}
	n -= 16
	return steps[n/36], steps[n/6%6], steps[n%6]
}
