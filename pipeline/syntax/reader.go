package syntax

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/slipway-ci/slipway/pipeline/diag"
	"github.com/slipway-ci/slipway/pipeline/expr"
)

// maxFindings bounds the list that a hostile file can cause.
const maxFindings = 500

// Parse reads a workflow file. The File is never nil; with errors in the list it may lack what they are about.
func Parse(path string, src []byte, limits Limits) (*File, diag.List) {
	r := &reader{file: &File{Path: path, GitHub: InGitHub(path), source: newSource("")}, limits: limits.orDefaults(), needs: "a workflow needs at least `on:` and `jobs:`"}
	if root := r.load(src); root != nil {
		r.workflow(root)
	}
	return r.file, r.found
}

// InGitHub reports whether a path lies in a .github folder, whose files must stay readable for GitHub.
func InGitHub(path string) bool {
	return slices.Contains(strings.Split(strings.ReplaceAll(path, `\`, "/"), "/"), ".github")
}

type reader struct {
	file   *File
	limits Limits
	// needs says what the least is that such a file has.
	needs string
	found diag.List
}

func (r *reader) report(at Pos, code, hint, format string, args ...any) {
	r.add(severity, at, code, hint, format, args...)
}

func (r *reader) warn(at Pos, code, hint, format string, args ...any) {
	r.add(diag.Warning, at, code, hint, format, args...)
}

func (r *reader) add(severity diag.Severity, at Pos, code, hint, format string, args ...any) {
	switch n := len(r.found); {
	case n > maxFindings:
		return
	case n == maxFindings:
		severity, code, hint, format, args = diag.Error, "too-many-findings", "repair these first", "there are more findings than %d", []any{maxFindings}
	}
	r.found = append(r.found, diag.Diagnostic{
		Path: r.file.Path, Line: at.Line, Column: at.Column, Severity: severity,
		Code: code, Message: fmt.Sprintf(format, args...), Hint: hint,
	})
}

// status says whose a key is, and whether it works.
type status uint8

const (
	known status = iota
	ours         // Slipway's own: not in .github/
	later        // GitHub's, and not supported yet
	oursLater
)

// keys are the keys that a mapping may have.
type keys struct {
	what  string
	names []string
	state map[string]status
}

// makeKeys takes names separated by space; a name ends with + if it is ours, ? if it is for later, +? if both.
func makeKeys(what, names string) keys {
	k := keys{what: what, state: map[string]status{}}
	for _, name := range strings.Fields(names) {
		s := known
		switch {
		case strings.HasSuffix(name, "+?"):
			s = oursLater
		case strings.HasSuffix(name, "+"):
			s = ours
		case strings.HasSuffix(name, "?"):
			s = later
		}
		name = strings.TrimRight(name, "+?")
		k.names = append(k.names, name)
		k.state[name] = s
	}
	return k
}

// mapping calls field for each known key of a mapping, in order, and reports all others.
func (r *reader) mapping(n *yaml.Node, k keys, field func(key string, name, value *yaml.Node)) {
	r.pairs(n, k.what, func(name *Scalar, keyNode, value *yaml.Node) {
		state, ok := k.state[name.Text]
		switch {
		case !ok:
			r.unknownKey(name, k)
		case (state == ours || state == oursLater) && r.file.GitHub:
			r.report(name.Pos, "slipway-key", "move the file to .slipway/, or leave the key out",
				"`%s` in %s is a key of Slipway's own, which a file in .github/ can't use: GitHub would refuse it", name.Text, k.what)
		case state == later || state == oursLater:
			r.report(name.Pos, "not-supported", "", "`%s` in %s is not supported yet", name.Text, k.what)
		default:
			field(name.Text, keyNode, value)
		}
	})
}

func (r *reader) unknownKey(name *Scalar, k keys) {
	names := k.names
	if r.file.GitHub {
		names = slices.DeleteFunc(slices.Clone(names), func(n string) bool { return k.state[n] == ours || k.state[n] == oursLater })
	}
	hint := diag.DidYouMean(name.Text, names)
	if hint == "" {
		hint = "known keys: " + strings.Join(names, ", ")
	}
	r.report(name.Pos, "unknown-key", hint, "unknown key `%s` in %s", clip(name.Text), k.what)
}

// pairs calls each for the entries of any mapping, and reports keys that can't be: twice there, not text, merged.
func (r *reader) pairs(n *yaml.Node, what string, each func(name *Scalar, keyNode, value *yaml.Node)) bool {
	m := resolve(n)
	if m.Kind != yaml.MappingNode {
		r.report(pos(n), "wrong-type", wholeExpressionHint(m), "%s must be a mapping of keys, and it is %s", what, shape(m))
		return false
	}
	if !r.ordinaryTag(m, "!!map") {
		return false
	}
	seen := make(map[string]Pos, len(m.Content)/2)
	for i := 0; i+1 < len(m.Content); i += 2 {
		key, value := resolve(m.Content[i]), m.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			r.report(pos(m.Content[i]), "bad-key", "", "a key in %s must be text, and this one is %s", what, shape(key))
			continue
		}
		name := newScalar(key)
		name.Text = key.Value // as written: `on` and `1.10` stay what they are
		name.Pos = pos(m.Content[i])
		if key.Value == "<<" && scalarStyle(key) == plain {
			r.report(name.Pos, "merge-key", "write the keys out; a whole value may be repeated with an anchor and an alias",
				"merge keys (`<<`) are not part of the workflow language")
			continue
		}
		if expr.HasExpression(name.Text) {
			r.report(name.Pos, "expression-key", "", "an expression can't be a key in %s", what)
			continue
		}
		folded := strings.ToLower(name.Text)
		if first, twice := seen[folded]; twice {
			r.report(name.Pos, "duplicate-key", "", "`%s` is there twice in %s; first on line %d", clip(name.Text), what, first.Line)
			continue
		}
		seen[folded] = name.Pos
		each(name, m.Content[i], value)
	}
	return true
}

// ordinaryTag refuses tags that give a value another type than its shape has.
func (r *reader) ordinaryTag(n *yaml.Node, allowed ...string) bool {
	if n.Style&yaml.TaggedStyle == 0 || slices.Contains(allowed, n.ShortTag()) {
		return true
	}
	hint := ""
	if strings.HasPrefix(n.Tag, "!") && !strings.HasPrefix(n.Tag, "!!") {
		hint = "YAML takes a leading `!` for a tag: quote the text, or write ${{ " + clip(n.Tag+n.Value) + " }}"
	}
	r.report(pos(n), "unknown-tag", hint, "the YAML tag `%s` means nothing here", clip(n.Tag))
	return false
}

// scalar reads any scalar; nil after a finding.
func (r *reader) scalar(n *yaml.Node, what string) *Scalar {
	v := resolve(n)
	if v.Kind != yaml.ScalarNode {
		r.report(pos(n), "wrong-type", "", "%s must be a text, and it is %s", what, shape(v))
		return nil
	}
	if !r.ordinaryTag(v, "!!str", "!!int", "!!float", "!!bool", "!!null") {
		return nil
	}
	return newScalar(v)
}

// text reads a scalar that must not be empty.
func (r *reader) text(n *yaml.Node, what string) *Scalar {
	s := r.scalar(n, what)
	if s != nil && strings.TrimSpace(s.Text) == "" {
		r.report(s.Pos, "empty-value", "", "%s must not be empty", what)
		return nil
	}
	return s
}

// literal reads a text that must not be empty and can't hold an expression.
func (r *reader) literal(n *yaml.Node, what string) *Scalar {
	s := r.text(n, what)
	if s.HasExpression() {
		r.report(s.Pos, "no-expression-here", "", "%s can't hold an expression", what)
		return nil
	}
	return s
}

// boolean reads true, false or an expression.
func (r *reader) boolean(n *yaml.Node, what string) *Scalar {
	s := r.scalar(n, what)
	if s != nil && s.Kind != BoolScalar && !s.HasExpression() {
		r.report(s.Pos, "wrong-type", "", "%s must be true, false or an expression, and it is %s", what, shape(resolve(n)))
		return nil
	}
	return s
}

// number reads a number or an expression.
func (r *reader) number(n *yaml.Node, what string) *Scalar {
	s := r.scalar(n, what)
	if s != nil && s.Kind != NumberScalar && !s.HasExpression() {
		r.report(s.Pos, "wrong-type", "", "%s must be a number or an expression, and it is %s", what, shape(resolve(n)))
		return nil
	}
	return s
}

// texts reads a text or a list of texts, none of them empty.
func (r *reader) texts(n *yaml.Node, what string) []*Scalar {
	v := resolve(n)
	if v.Kind != yaml.SequenceNode {
		if s := r.text(n, what); s != nil {
			return []*Scalar{s}
		}
		return nil
	}
	return r.list(n, what)
}

// list reads a list of texts.
func (r *reader) list(n *yaml.Node, what string) []*Scalar {
	v := resolve(n)
	if v.Kind != yaml.SequenceNode {
		r.report(pos(n), "wrong-type", "", "%s must be a list, and it is %s", what, shape(v))
		return nil
	}
	var out []*Scalar
	for _, item := range v.Content {
		if s := r.text(item, "an item of "+what); s != nil {
			out = append(out, s)
		}
	}
	return out
}

// textMap reads a mapping from names to texts: env, with, outputs.
func (r *reader) textMap(n *yaml.Node, what string) *Map {
	m := &Map{Pos: pos(n)}
	ok := r.pairs(n, what, func(name *Scalar, _, value *yaml.Node) {
		if name.Text == "" {
			r.report(name.Pos, "bad-key", "", "a key in %s must not be empty", what)
			return
		}
		if s := r.scalar(value, "`"+clip(name.Text)+"` in "+what); s != nil {
			m.Pairs = append(m.Pairs, Pair{name, s})
		}
	})
	if !ok {
		return nil
	}
	return m
}

// data reads a value of any shape.
func (r *reader) data(n *yaml.Node, what string) *Data {
	v := resolve(n)
	d := &Data{Pos: pos(n)}
	switch v.Kind {
	case yaml.SequenceNode:
		d.IsList = true
		for _, item := range v.Content {
			if child := r.data(item, what); child != nil {
				d.List = append(d.List, child)
			}
		}
	case yaml.MappingNode:
		r.pairs(n, what, func(name *Scalar, _, value *yaml.Node) {
			if child := r.data(value, what); child != nil {
				d.Fields = append(d.Fields, Field{name, child})
			}
		})
	case yaml.ScalarNode:
		if d.Scalar = r.scalar(n, "a value in "+what); d.Scalar == nil {
			return nil
		}
	case yaml.DocumentNode, yaml.AliasNode:
		return nil
	}
	return d
}

func wholeExpressionHint(n *yaml.Node) string {
	if n.Kind == yaml.ScalarNode && expr.HasExpression(n.Value) {
		return "an expression in place of the whole mapping is not supported yet; write the keys out"
	}
	return ""
}

func clip(s string) string {
	const most = 60
	if r := []rune(s); len(r) > most {
		return string(r[:most]) + "…"
	}
	return s
}
