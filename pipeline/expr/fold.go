package expr

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// foldRune maps a character to upper case the way .NET's ordinal comparison does: one character to one, and the two
// letters whose upper case would be ASCII (dotless i, long s) to themselves.
func foldRune(r rune) rune {
	switch {
	case r < utf8.RuneSelf:
		if 'a' <= r && r <= 'z' {
			return r - 'a' + 'A'
		}
		return r
	case r == 'ı' || r == 'ſ':
		return r
	}
	return unicode.ToUpper(r)
}

func fold(s string) string { return strings.Map(foldRune, s) }

func equalFold(a, b string) bool {
	if a == b {
		return true
	}
	return compareFold(a, b) == 0
}

// compareFold orders by UTF-16 code units after folding, as .NET's OrdinalIgnoreCase does.
func compareFold(a, b string) int {
	for a != "" && b != "" {
		ra, na := utf8.DecodeRuneInString(a)
		rb, nb := utf8.DecodeRuneInString(b)
		a, b = a[na:], b[nb:]
		ra, rb = foldRune(ra), foldRune(rb)
		if ra == rb {
			continue
		}
		// In UTF-16 a character beyond the basic plane begins with a surrogate, which sorts before U+E000.
		if high := ra > 0xFFFF; high != (rb > 0xFFFF) {
			if high == (min(ra, rb) >= 0xE000) {
				return -1
			}
			return 1
		}
		if ra < rb {
			return -1
		}
		return 1
	}
	return len(a) - len(b)
}
