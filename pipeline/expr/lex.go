package expr

import (
	"fmt"
	"math"
	"strings"
	"unicode"
	"unicode/utf8"
)

type tokenKind uint8

const (
	tokenEnd tokenKind = iota
	tokenLiteral
	tokenName     // a context, or a property after a dot
	tokenOperator // text says which; brackets and commas too
)

type token struct {
	kind  tokenKind
	text  string
	value Value // of a literal
	at    int   // byte offset
}

// SyntaxError says what is wrong with the form of an expression, and where.
type SyntaxError struct {
	// Offset is where in the source, in bytes from 0. Column is the same in characters from 1.
	Offset, Column int
	Message        string
	Hint           string
	// Warning: the expression has a value all the same, though hardly the one that was meant.
	Warning bool
}

// Error returns the message with its column.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("%s at column %d", e.Message, e.Column)
}

func syntaxError(src string, at int, format string, args ...any) *SyntaxError {
	at = min(at, len(src))
	return &SyntaxError{Offset: at, Column: columnOf(src, at), Message: fmt.Sprintf(format, args...)}
}

func columnOf(src string, at int) int { return utf8.RuneCountInString(src[:at]) + 1 }

type lexer struct {
	src string
	at  int
	// last is the kind and text of the token before: a dot after an operand is a dereference, else it begins a number.
	last token
}

func (l *lexer) next() (token, error) {
	t, err := l.scan()
	l.last = t
	return t, err
}

func (l *lexer) scan() (token, error) {
	for l.at < len(l.src) {
		r, n := utf8.DecodeRuneInString(l.src[l.at:])
		if !unicode.IsSpace(r) {
			break
		}
		l.at += n
	}
	if l.at == len(l.src) {
		return token{kind: tokenEnd, at: l.at}, nil
	}
	start := l.at
	switch c := l.src[l.at]; {
	case c == '\'':
		return l.scanString()
	case strings.IndexByte("()[],*", c) >= 0:
		l.at++
		return token{kind: tokenOperator, text: l.src[start:l.at], at: start}, nil
	case strings.IndexByte("!<>=&|", c) >= 0:
		return l.scanOperator()
	case c == '.' && l.afterOperand():
		l.at++
		return token{kind: tokenOperator, text: ".", at: start}, nil
	case c == '.' || c == '+' || c == '-' || '0' <= c && c <= '9':
		return l.scanNumber()
	}
	return l.scanWord()
}

func (l *lexer) afterOperand() bool {
	switch l.last.kind {
	case tokenLiteral, tokenName:
		return true
	case tokenOperator:
		return strings.Contains(")]*.", l.last.text)
	case tokenEnd:
	}
	return false
}

func (l *lexer) scanString() (token, error) {
	start := l.at
	var b strings.Builder
	for i := start + 1; i < len(l.src); {
		end := strings.IndexByte(l.src[i:], '\'')
		if end < 0 {
			break
		}
		b.WriteString(l.src[i : i+end])
		i += end + 1
		if i < len(l.src) && l.src[i] == '\'' {
			b.WriteByte('\'')
			i++
			continue
		}
		l.at = i
		return token{kind: tokenLiteral, value: String(b.String()), at: start}, nil
	}
	return token{}, syntaxError(l.src, start, "the string has no closing '")
}

func (l *lexer) scanOperator() (token, error) {
	start := l.at
	two := l.src[start:min(start+2, len(l.src))]
	switch two {
	case "!=", "<=", ">=", "==", "&&", "||":
		l.at += 2
		return token{kind: tokenOperator, text: two, at: start}, nil
	}
	one := l.src[start : start+1]
	switch one {
	case "!", "<", ">":
		l.at++
		return token{kind: tokenOperator, text: one, at: start}, nil
	}
	err := syntaxError(l.src, start, "unexpected `%s`", one)
	err.Hint = "did you mean `" + one + one + "`?"
	return token{}, err
}

// boundary reports whether c ends a number or a word.
func boundary(r rune) bool {
	return strings.ContainsRune("()[],.!<>=&|", r) || unicode.IsSpace(r)
}

func (l *lexer) run(alsoDots bool) string {
	start := l.at
	for l.at < len(l.src) {
		r, n := utf8.DecodeRuneInString(l.src[l.at:])
		if l.at > start && boundary(r) && (!alsoDots || r != '.') {
			break
		}
		l.at += n
	}
	return l.src[start:l.at]
}

func (l *lexer) scanNumber() (token, error) {
	start := l.at
	text := l.run(true)
	n := ParseNumber(text)
	if math.IsNaN(n) {
		return token{}, syntaxError(l.src, start, "`%s` is not a number", clip(text))
	}
	return token{kind: tokenLiteral, value: Number(n), at: start}, nil
}

func (l *lexer) scanWord() (token, error) {
	start := l.at
	text := l.run(false)
	if !IsName(text) {
		err := syntaxError(l.src, start, "unexpected `%s`", clip(text))
		if strings.HasPrefix(text, "\"") {
			err.Hint = "strings stand in single quotes"
		}
		return token{}, err
	}
	if l.last.kind == tokenOperator && l.last.text == "." {
		return token{kind: tokenName, text: text, at: start}, nil
	}
	literal := token{kind: tokenLiteral, at: start}
	switch text {
	case "null":
		return literal, nil
	case "true", "false":
		literal.value = Bool(text == "true")
		return literal, nil
	case "NaN":
		literal.value = Number(math.NaN())
		return literal, nil
	case "Infinity":
		literal.value = Number(math.Inf(1))
		return literal, nil
	}
	return token{kind: tokenName, text: text, at: start}, nil
}

// IsName reports whether s can be the name of a context, property, job or step: a letter or underscore, then letters,
// digits, underscores and dashes.
func IsName(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_'
		if !letter && (i == 0 || c != '-' && (c < '0' || c > '9')) {
			return false
		}
	}
	return s != ""
}

// mostQuoted characters are quoted by a message.
const mostQuoted = 40

// clip shortens what a message quotes of an expression.
func clip(s string) string {
	if utf8.RuneCountInString(s) <= mostQuoted {
		return s
	}
	return string([]rune(s)[:mostQuoted]) + "…"
}

// quote is a value as a message repeats it: whole or not at all, since a part of a secret would not be recognised and hidden.
func quote(s string) string {
	if n := utf8.RuneCountInString(s); n > mostQuoted {
		return fmt.Sprintf("a text of %d characters", n)
	}
	return "`" + s + "`"
}
