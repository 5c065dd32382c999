package expr

import (
	"strconv"
	"strings"
)

// Unjoin is the text with ${{ }} in it that Join made this expression of. An expression that Join did not make a format() of is returned as it is.
func Unjoin(src string) string {
	if !strings.HasPrefix(src, "format('") {
		return src
	}
	e, err := ParseCompiled(src)
	if err != nil {
		return src
	}
	n, ok := e.root.(*call)
	if !ok || len(n.args) < 2 {
		return src
	}
	template, ok := n.args[0].(*literal)
	if !ok {
		return src
	}
	args := argumentTexts(src, n)
	var b strings.Builder
	text := template.value.Text()
	for i := 0; i < len(text); i++ {
		switch {
		case strings.HasPrefix(text[i:], "{{"), strings.HasPrefix(text[i:], "}}"):
			b.WriteByte(text[i])
			i++
		case text[i] == '{':
			end := strings.IndexByte(text[i:], '}')
			if end < 0 {
				return src
			}
			k, err := strconv.Atoi(text[i+1 : i+end])
			if err != nil || k < 0 || k >= len(args) {
				return src
			}
			b.WriteString("${{ " + args[k] + " }}")
			i += end
		default:
			b.WriteByte(text[i])
		}
	}
	written := b.String()
	if parts, err := Split(written); err != nil || Join(parts) != src {
		return src
	}
	return written
}

// argumentTexts are the sources of a format()'s arguments behind its template, cut at the commas between them.
func argumentTexts(src string, n *call) []string {
	var cuts []int
	depth, inString := 0, false
	for i := range len(src) {
		switch c := src[i]; {
		case c == '\'':
			inString = !inString
		case inString:
		case c == '(' || c == '[':
			depth++
		case c == ')' || c == ']':
			if depth--; depth == 0 {
				cuts = append(cuts, i)
			}
		case c == ',' && depth == 1:
			cuts = append(cuts, i)
		}
	}
	var out []string
	for i := 0; i+1 < len(cuts) && i+1 < len(n.args); i++ {
		out = append(out, strings.TrimSpace(src[cuts[i]+1:cuts[i+1]]))
	}
	return out
}
