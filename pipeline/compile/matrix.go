package compile

import (
	"strconv"
	"strings"

	"github.com/slipway-ci/slipway/pipeline/expr"
	"github.com/slipway-ci/slipway/pipeline/syntax"
)

// matrixExpression is one expression that gives a matrix with expressions in it: the matrix as a JSON template, into
// which each expression's value goes as JSON.
//
//	{node: [20, "${{ vars.next }}"]}  →  fromJSON(format('{{"node":[20,{0}]}}', toJSON(vars.next)))
func matrixExpression(m *syntax.Data) string {
	if m.Scalar != nil {
		return joined(m.Scalar)
	}
	t := template{}
	t.data(m)
	var b strings.Builder
	b.WriteString("fromJSON(format(")
	b.WriteString(expr.Quote(t.text.String()))
	for _, arg := range t.args {
		b.WriteString(", toJSON(")
		b.WriteString(arg)
		b.WriteString(")")
	}
	b.WriteString("))")
	return b.String()
}

func joined(s *syntax.Scalar) string {
	parts, err := expr.Split(s.Text)
	if err != nil {
		return "null" // check has refused it
	}
	return expr.Join(parts)
}

type template struct {
	text strings.Builder
	args []string
}

func (t *template) literal(s string) { t.text.WriteString(expr.EscapeFormat(s)) }

func (t *template) data(d *syntax.Data) {
	switch {
	case d.Scalar.HasExpression():
		t.text.WriteString("{" + strconv.Itoa(len(t.args)) + "}")
		t.args = append(t.args, joined(d.Scalar))
	case d.Scalar != nil:
		t.literal(expr.ToJSON(d.Scalar.Value()))
	case d.IsList:
		t.literal("[")
		for i, item := range d.List {
			if i > 0 {
				t.literal(",")
			}
			t.data(item)
		}
		t.literal("]")
	default:
		t.literal("{")
		for i, f := range d.Fields {
			if i > 0 {
				t.literal(",")
			}
			t.literal(expr.ToJSON(expr.String(f.Key.Text)) + ":")
			t.data(f.Value)
		}
		t.literal("}")
	}
}
