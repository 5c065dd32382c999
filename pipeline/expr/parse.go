package expr

import (
	"fmt"
	"strings"
	"unicode"
)

// Limits on an expression as a person writes it, from GitHub's ExpressionConstants.
const (
	MaxLength = 21000 // characters, counted as UTF-16 does
	MaxDepth  = 50    // levels of the syntax tree; a chain of && or || is one
)

// Limits on an expression that the compiler made: a long script with expressions in it becomes one format().
const (
	maxCompiledLength = 8 << 20
	maxCompiledDepth  = 2*MaxDepth + 10
)

// maxNesting bounds the parser's own recursion, which parentheses deepen without deepening the tree.
const maxNesting = 1000

// Expr is a parsed expression. Safe for concurrent use.
type Expr struct {
	src  string
	root node
}

// Source returns the text that was parsed.
func (e *Expr) Source() string { return e.src }

type node interface{ offset() int }

type place int

func (p place) offset() int { return int(p) }

type (
	literal struct {
		place
		value Value
		// grouped: it stands in parentheses, so that it may be indexed.
		grouped bool
	}
	context struct {
		place
		name string
	}
	call struct {
		place
		name string
		args []node
	}
	// index is of.key, of[key] or of.*; key is nil for the last.
	index struct {
		place
		of, key node
	}
	not struct {
		place
		of node
	}
	compare struct {
		place
		op   string
		a, b node
	}
	// logic is a chain of one operator, && or ||.
	logic struct {
		place
		and  bool
		args []node
	}
)

// Parse reads an expression as a person writes it, without ${{ and }}. The error is a *SyntaxError.
func Parse(src string) (*Expr, error) { return parse(src, MaxLength, MaxDepth) }

// ParseFor reads an expression as Parse does and judges names and numbers of arguments on the way, as GitHub's parser
// does: the error is about the first thing in the text that is wrong.
func ParseFor(src string, r Rules) (*Expr, error) { return parseWith(src, MaxLength, MaxDepth, &r) }

// ParseCompiled reads an expression of a compiled plan. It allows the greater lengths that joining makes.
func ParseCompiled(src string) (*Expr, error) { return parse(src, maxCompiledLength, maxCompiledDepth) }

func parse(src string, maxLength, maxDepth int) (*Expr, error) {
	return parseWith(src, maxLength, maxDepth, nil)
}

func parseWith(src string, maxLength, maxDepth int, rules *Rules) (*Expr, error) {
	if len(src) > maxLength && utf16Length(src) > maxLength {
		return nil, syntaxError(src, 0, "the expression is longer than %d characters", maxLength)
	}
	p := parser{lexer: lexer{src: src}, rules: rules}
	if err := p.advance(); err != nil {
		return nil, err
	}
	if p.tok.kind == tokenEnd {
		return nil, syntaxError(src, 0, "the expression is empty")
	}
	root, err := p.or()
	if err != nil {
		return nil, err
	}
	if p.tok.kind != tokenEnd {
		return nil, p.unexpected()
	}
	if maxLength == MaxLength {
		if n := tooManyArgs(root); n != nil {
			return nil, syntaxError(src, n.offset(), "%s takes at most %d arguments, not %d", n.name, MaxArity, len(n.args))
		}
	}
	if n := tooDeep(root, maxDepth); n != nil {
		return nil, syntaxError(src, n.offset(), "the expression is nested deeper than %d levels", maxDepth)
	}
	return &Expr{src: src, root: root}, nil
}

type parser struct {
	lexer
	tok token
	// before is the token before tok.
	before  token
	nesting int
	// rules, if there are any, are what names are held against as they are read.
	rules *Rules
}

func (p *parser) advance() (err error) {
	p.before = p.tok
	p.tok, err = p.next()
	return err
}

func (p *parser) is(operator string) bool {
	return p.tok.kind == tokenOperator && p.tok.text == operator
}

func (p *parser) unexpected() error {
	switch p.tok.kind {
	case tokenEnd:
		return p.endsEarly("the expression ends too early")
	case tokenLiteral, tokenName, tokenOperator:
	}
	return syntaxError(p.src, p.tok.at, "unexpected `%s`", clip(p.src[p.tok.at:p.lexer.at]))
}

// endsEarly is about the last token, as GitHub's message is.
func (p *parser) endsEarly(message string) error {
	last := strings.TrimSpace(p.src[p.before.at:p.tok.at])
	return syntaxError(p.src, p.before.at, "%s, after `%s`", message, clip(last))
}

func (p *parser) expect(operator string) error {
	if !p.is(operator) {
		if p.tok.kind == tokenEnd {
			return p.endsEarly(fmt.Sprintf("the expression ends where `%s` is missing", operator))
		}
		return p.unexpected()
	}
	return p.advance()
}

func (p *parser) or() (node, error)  { return p.chain("||", p.and) }
func (p *parser) and() (node, error) { return p.chain("&&", p.equality) }

func (p *parser) chain(operator string, operand func() (node, error)) (node, error) {
	if p.nesting++; p.nesting > maxNesting {
		return nil, syntaxError(p.src, p.tok.at, "the expression is nested too deeply")
	}
	defer func() { p.nesting-- }()
	first, err := operand()
	if err != nil || !p.is(operator) {
		return first, err
	}
	chain := &logic{place: place(p.tok.at), and: operator == "&&"}
	chain.add(first)
	for p.is(operator) {
		if err := p.advance(); err != nil {
			return nil, err
		}
		next, err := operand()
		if err != nil {
			return nil, err
		}
		chain.add(next)
	}
	return chain, nil
}

// add flattens: (a && b) && c is one chain.
func (l *logic) add(n node) {
	if inner, ok := n.(*logic); ok && inner.and == l.and {
		l.args = append(l.args, inner.args...)
		return
	}
	l.args = append(l.args, n)
}

func (p *parser) equality() (node, error) {
	return p.comparison(p.relation, "==", "!=")
}

func (p *parser) relation() (node, error) {
	return p.comparison(p.unary, "<", "<=", ">", ">=")
}

func (p *parser) comparison(operand func() (node, error), operators ...string) (node, error) {
	left, err := operand()
	if err != nil {
		return nil, err
	}
	for {
		op := ""
		for _, o := range operators {
			if p.is(o) {
				op = o
			}
		}
		if op == "" {
			return left, nil
		}
		at := place(p.tok.at)
		if err := p.advance(); err != nil {
			return nil, err
		}
		right, err := operand()
		if err != nil {
			return nil, err
		}
		left = &compare{place: at, op: op, a: left, b: right}
	}
}

func (p *parser) unary() (node, error) {
	var marks []place
	for p.is("!") {
		marks = append(marks, place(p.tok.at))
		if err := p.advance(); err != nil {
			return nil, err
		}
	}
	n, err := p.postfix()
	if err != nil {
		return nil, err
	}
	for i := len(marks) - 1; i >= 0; i-- {
		n = &not{place: marks[i], of: n}
	}
	return n, nil
}

func (p *parser) postfix() (node, error) {
	n, err := p.primary()
	if err != nil {
		return nil, err
	}
	if l, ok := n.(*literal); ok && !l.grouped && (p.is(".") || p.is("[")) {
		return nil, p.unexpected()
	}
	for {
		switch {
		case p.is("."):
			n, err = p.property(n)
		case p.is("["):
			n, err = p.subscript(n)
		default:
			return n, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

func (p *parser) property(of node) (node, error) {
	at := place(p.tok.at)
	if err := p.advance(); err != nil {
		return nil, err
	}
	switch {
	case p.is("*"):
		return &index{place: at, of: of}, p.advance()
	case p.tok.kind == tokenName:
		key := &literal{place: place(p.tok.at), value: String(p.tok.text)}
		return &index{place: at, of: of, key: key}, p.advance()
	}
	return nil, p.unexpected()
}

func (p *parser) subscript(of node) (node, error) {
	at := place(p.tok.at)
	if err := p.advance(); err != nil {
		return nil, err
	}
	if p.is("*") {
		if err := p.advance(); err != nil {
			return nil, err
		}
		return &index{place: at, of: of}, p.expect("]")
	}
	key, err := p.or()
	if err != nil {
		return nil, err
	}
	return &index{place: at, of: of, key: key}, p.expect("]")
}

func (p *parser) primary() (node, error) {
	at := place(p.tok.at)
	switch {
	case p.tok.kind == tokenLiteral:
		n := &literal{place: at, value: p.tok.value}
		return n, p.advance()
	case p.tok.kind == tokenName:
		if p.callFollows() {
			return p.call(&call{place: at, name: p.tok.text})
		}
		n := &context{place: at, name: p.tok.text}
		if p.rules != nil {
			if problem := checkContext(p.src, n, *p.rules); problem != nil {
				return nil, problem
			}
		}
		return n, p.advance()
	case p.is("("):
		if err := p.advance(); err != nil {
			return nil, err
		}
		n, err := p.or()
		if err != nil {
			return nil, err
		}
		if err := p.expect(")"); err != nil {
			return nil, err
		}
		if l, ok := n.(*literal); ok {
			l.grouped = true
		}
		return n, nil
	}
	return nil, p.unexpected()
}

// callFollows reports whether the name that was read is a function's. It looks at the text, so that a name is judged
// before what follows it is.
func (p *parser) callFollows() bool {
	return strings.HasPrefix(strings.TrimLeftFunc(p.src[p.lexer.at:], unicode.IsSpace), "(")
}

func (p *parser) call(n *call) (node, error) {
	if p.rules != nil {
		if _, problem := checkFunction(p.src, n, *p.rules); problem != nil {
			return nil, problem
		}
	}
	for range 2 { // the name, the bracket
		if err := p.advance(); err != nil {
			return nil, err
		}
	}
	for !p.is(")") || len(n.args) > 0 {
		arg, err := p.or()
		if err != nil {
			return nil, err
		}
		n.args = append(n.args, arg)
		if !p.is(",") {
			break
		}
		if err := p.advance(); err != nil {
			return nil, err
		}
	}
	if p.rules != nil && p.is(")") {
		if problem := checkCall(p.src, n, *p.rules); problem != nil {
			return nil, problem
		}
	}
	return n, p.expect(")")
}

func children(n node) []node {
	switch n := n.(type) {
	case *call:
		return n.args
	case *index:
		if n.key == nil {
			return []node{n.of}
		}
		return []node{n.of, n.key}
	case *not:
		return []node{n.of}
	case *compare:
		return []node{n.a, n.b}
	case *logic:
		return n.args
	}
	return nil
}

// Quote writes s as a string of the expression language.
func Quote(s string) string {
	b := make([]byte, 0, len(s)+2)
	b = append(b, '\'')
	for i := range len(s) {
		if s[i] == '\'' {
			b = append(b, '\'')
		}
		b = append(b, s[i])
	}
	return string(append(b, '\''))
}
