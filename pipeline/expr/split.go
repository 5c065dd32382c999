package expr

import (
	"strconv"
	"strings"
)

// Part is a piece of a text with expressions in it.
type Part struct {
	// Text is literal text, or the source of an expression without ${{ and }}.
	Text string
	Expr bool
	// Offset of Text, in bytes.
	Offset int
}

const (
	opening = "${{"
	closing = "}}"
)

// HasExpression reports whether text holds the beginning of an expression.
func HasExpression(text string) bool { return strings.Contains(text, opening) }

// Split takes a text apart at its ${{ }}. A }} inside a string of an expression does not end it. The error is a
// *SyntaxError for an expression that doesn't end.
func Split(text string) ([]Part, error) {
	var parts []Part
	for at := 0; at < len(text); {
		begin := strings.Index(text[at:], opening)
		if begin < 0 {
			return append(parts, Part{Text: text[at:], Offset: at}), nil
		}
		if begin > 0 {
			parts = append(parts, Part{Text: text[at : at+begin], Offset: at})
		}
		begin += at
		length := endOf(text[begin+len(opening):])
		if length < 0 {
			err := syntaxError(text, begin, "the expression that begins here has no closing }}")
			return nil, err
		}
		source := begin + len(opening)
		parts = append(parts, Part{Text: text[source : source+length], Expr: true, Offset: source})
		at = source + length + len(closing)
	}
	return parts, nil
}

// endOf returns where the closing }} stands, or -1.
func endOf(s string) int {
	inString := false
	for i := range len(s) {
		switch {
		case s[i] == '\'':
			inString = !inString
		case !inString && strings.HasPrefix(s[i:], closing):
			return i
		}
	}
	return -1
}

// Join is the inverse for the compiler: one expression that gives the text with its expressions' values in it. A text
// that is one expression is that expression, so its value keeps its type.
func Join(parts []Part) string {
	if len(parts) == 1 && parts[0].Expr {
		return strings.TrimSpace(parts[0].Text)
	}
	var template, args strings.Builder
	n := 0
	for _, p := range parts {
		if !p.Expr {
			template.WriteString(EscapeFormat(p.Text))
			continue
		}
		template.WriteString("{" + strconv.Itoa(n) + "}")
		n++
		args.WriteString(", ")
		args.WriteString(strings.TrimSpace(p.Text))
	}
	return "format(" + Quote(template.String()) + args.String() + ")"
}

var formatEscaper = strings.NewReplacer("{", "{{", "}", "}}")

// EscapeFormat doubles the braces of a text, for use in a format() template.
func EscapeFormat(s string) string { return formatEscaper.Replace(s) }
