package expr

import (
	"math"
	"strconv"
	"strings"
)

// Truthy is what `if` sees: null, false, 0, NaN and the empty string are false, all else is true.
func (v Value) Truthy() bool {
	switch v.kind {
	case KindNull:
		return false
	case KindBool, KindNumber:
		return v.num != 0 && !math.IsNaN(v.num)
	case KindString:
		return v.str != ""
	case KindArray, KindObject:
		return true
	}
	return false
}

// Text is v as a string: null is empty, an array "Array", an object "Object", a number has at most 15 significant digits.
func (v Value) Text() string {
	switch v.kind {
	case KindNull:
		return ""
	case KindBool:
		if v.num != 0 {
			return "true"
		}
		return "false"
	case KindNumber:
		return FormatNumber(v.num)
	case KindString:
		return v.str
	case KindArray, KindObject:
		return v.kind.String()
	}
	return ""
}

// Float is v as a number: null is 0, a boolean 0 or 1, a string is read as a literal would be, all else is NaN.
func (v Value) Float() float64 {
	switch v.kind {
	case KindNull:
		return 0
	case KindBool, KindNumber:
		return v.num
	case KindString:
		return ParseNumber(v.str)
	case KindArray, KindObject:
		return math.NaN()
	}
	return math.NaN()
}

// FormatNumber prints n as GitHub does: 15 significant digits, an exponent (1E+15) outside 1e-5 < |n| < 1e15.
func FormatNumber(n float64) string {
	switch {
	case math.IsNaN(n):
		return "NaN"
	case math.IsInf(n, 1):
		return "Infinity"
	case math.IsInf(n, -1):
		return "-Infinity"
	case n == 0:
		return "0"
	}
	const precision = 15
	mantissa, exponentText, _ := strings.Cut(strconv.FormatFloat(math.Abs(n), 'e', precision-1, 64), "e")
	exponent, err := strconv.Atoi(exponentText)
	if err != nil {
		return strconv.FormatFloat(n, 'g', precision, 64)
	}
	digits := strings.TrimRight(mantissa[:1]+mantissa[2:], "0")
	var b strings.Builder
	if n < 0 {
		b.WriteByte('-')
	}
	switch {
	case exponent >= precision || exponent <= -5:
		writeScientific(&b, digits, exponent)
	case exponent < 0:
		b.WriteString("0.")
		b.WriteString(strings.Repeat("0", -exponent-1))
		b.WriteString(digits)
	case len(digits) <= exponent+1:
		b.WriteString(digits)
		b.WriteString(strings.Repeat("0", exponent+1-len(digits)))
	default:
		b.WriteString(digits[:exponent+1])
		b.WriteByte('.')
		b.WriteString(digits[exponent+1:])
	}
	return b.String()
}

func writeScientific(b *strings.Builder, digits string, exponent int) {
	b.WriteByte(digits[0])
	if len(digits) > 1 {
		b.WriteByte('.')
		b.WriteString(digits[1:])
	}
	sign := byte('+')
	if exponent < 0 {
		sign, exponent = '-', -exponent
	}
	b.WriteByte('E')
	b.WriteByte(sign)
	if exponent < 10 {
		b.WriteByte('0')
	}
	b.WriteString(strconv.Itoa(exponent))
}

// ParseNumber reads a number as a comparison with a string does: surrounding space is dropped, nothing is 0, and what
// is no number is NaN. Decimal, exponent, 0x and 0o (32 bits, two's complement), Infinity.
func ParseNumber(s string) float64 {
	s = strings.TrimSpace(s)
	if s == "" {
		return 0
	}
	if isDecimal(s) {
		// The only error left is a number out of range, for which ParseFloat returns an infinity, as .NET does.
		n, _ := strconv.ParseFloat(s, 64) //nolint:errcheck // see above
		return n
	}
	if len(s) > 2 && s[0] == '0' && (s[1] == 'x' || s[1] == 'o') {
		base := 16
		if s[1] == 'o' {
			base = 8
		}
		if s[2] == '+' || s[2] == '-' {
			return math.NaN()
		}
		n, err := strconv.ParseUint(s[2:], base, 32)
		if err != nil {
			return math.NaN()
		}
		return float64(int32(uint32(n))) //nolint:gosec // the wrap is GitHub's: 0xFFFFFFFF is -1
	}
	switch strings.ToLower(s) {
	case "infinity", "+infinity":
		return math.Inf(1)
	case "-infinity":
		return math.Inf(-1)
	}
	return math.NaN()
}

// isDecimal accepts [+-] digits [. digits] [e [+-] digits], with at least one digit before the exponent.
func isDecimal(s string) bool {
	i := 0
	if s[i] == '+' || s[i] == '-' {
		i++
	}
	digits := func() (n int) {
		for i < len(s) && '0' <= s[i] && s[i] <= '9' {
			i++
			n++
		}
		return n
	}
	n := digits()
	if i < len(s) && s[i] == '.' {
		i++
		n += digits()
	}
	if n == 0 {
		return false
	}
	if i < len(s) && (s[i] == 'e' || s[i] == 'E') {
		i++
		if i < len(s) && (s[i] == '+' || s[i] == '-') {
			i++
		}
		if digits() == 0 {
			return false
		}
	}
	return i == len(s)
}
