package syntax

import (
	"math"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/slipway-ci/slipway/pipeline/expr"
)

// The core schema of YAML 1.2, section 10.3.2. The library underneath knows more (dates, binary, 1_000), which GitHub
// does not, so its own tags are not used.
var (
	yamlInt   = regexp.MustCompile(`^[-+]?[0-9]+$`)
	yamlOctal = regexp.MustCompile(`^0o[0-7]+$`)
	yamlHex   = regexp.MustCompile(`^0x[0-9a-fA-F]+$`)
	yamlFloat = regexp.MustCompile(`^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`)
)

// scalarKind gives a scalar its kind and text: a boolean or number in one spelling, as GitHub prints it (1.10 is 1.1).
func scalarKind(n *yaml.Node) (ScalarKind, string) {
	explicit := n.Style&yaml.TaggedStyle != 0
	quoted := n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0
	if explicit && n.ShortTag() == "!!str" || quoted && !explicit {
		return StringScalar, n.Value
	}
	switch n.Value {
	case "", "~", "null", "Null", "NULL":
		return NullScalar, ""
	case "true", "True", "TRUE":
		return BoolScalar, "true"
	case "false", "False", "FALSE":
		return BoolScalar, "false"
	}
	if f, ok := yamlNumber(n.Value); ok {
		return NumberScalar, expr.FormatNumber(f)
	}
	return StringScalar, n.Value
}

func yamlNumber(s string) (float64, bool) {
	switch c := s[0]; {
	case c == '+' || c == '-' || c == '.' || '0' <= c && c <= '9':
	default:
		return 0, false
	}
	switch {
	case yamlInt.MatchString(s), yamlFloat.MatchString(s):
		// Out of range is an infinity, which FormatNumber prints.
		f, _ := strconv.ParseFloat(s, 64) //nolint:errcheck // see above
		return f, true
	case yamlOctal.MatchString(s):
		return based(s[2:], 8)
	case yamlHex.MatchString(s):
		return based(s[2:], 16)
	}
	switch strings.ToLower(strings.TrimPrefix(s, "+")) {
	case ".inf":
		return math.Inf(1), true
	case "-.inf":
		return math.Inf(-1), true
	case ".nan":
		return math.NaN(), true
	}
	return 0, false
}

func based(digits string, base int) (float64, bool) {
	n, err := strconv.ParseUint(digits, base, 64)
	return float64(n), err == nil
}

func scalarStyle(n *yaml.Node) style {
	switch {
	case n.Style&yaml.SingleQuotedStyle != 0:
		return singleQuoted
	case n.Style&yaml.DoubleQuotedStyle != 0:
		return doubleQuoted
	case n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		return block
	}
	return plain
}

func newScalar(n *yaml.Node) *Scalar {
	kind, text := scalarKind(n)
	return &Scalar{Pos: pos(n), Text: text, Kind: kind, style: scalarStyle(n), Comment: n.LineComment}
}

// Number returns the value of a number scalar.
func (s *Scalar) Number() (float64, bool) {
	if s == nil || s.Kind != NumberScalar {
		return 0, false
	}
	return expr.ParseNumber(s.Text), true
}

// HasExpression reports whether the text holds a ${{ }}.
func (s *Scalar) HasExpression() bool { return s != nil && expr.HasExpression(s.Text) }
