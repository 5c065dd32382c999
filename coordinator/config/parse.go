package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/slipway-ci/slipway/pipeline/diag"
)

// maxBytes of a configuration file.
const maxBytes = 1 << 20

// Problem is one mistake in a configuration file.
type Problem struct {
	Path         string
	Line, Column int
	Message      string
	Hint         string
}

// Error returns "path:line:column: message (hint)".
func (p *Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.Path)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
	}
	b.WriteString(": " + p.Message)
	if p.Hint != "" {
		b.WriteString(" (" + p.Hint + ")")
	}
	return b.String()
}

// Load reads and checks a file. The error joins every Problem.
func Load(path string) (Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return Config{}, fmt.Errorf("reading the configuration: %w", err)
	}
	defer func() { _ = f.Close() }()
	src, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err != nil {
		return Config{}, fmt.Errorf("reading the configuration: %w", err)
	}
	if len(src) > maxBytes {
		return Config{}, &Problem{Path: path, Message: fmt.Sprintf("the file has more than %d bytes", maxBytes)}
	}
	return Parse(path, src)
}

// Parse reads and checks a file's content; path is for messages. What the file does not say is as in Default. The error joins every
// Problem.
func Parse(path string, src []byte) (Config, error) {
	conf := Default()
	dec := yaml.NewDecoder(bytes.NewReader(src))
	var doc yaml.Node
	err := dec.Decode(&doc)
	switch {
	case errors.Is(err, io.EOF): // empty: all defaults
		return conf, conf.check(path, nil)
	case err != nil:
		return Config{}, &Problem{Path: path, Message: "not valid YAML: " + strings.TrimPrefix(err.Error(), "yaml: ")}
	}
	if dec.Decode(new(yaml.Node)) == nil {
		return Config{}, &Problem{Path: path, Message: "more than one YAML document", Hint: "remove everything from the second `---` on"}
	}
	root := doc.Content[0]
	c := checker{path: path}
	c.node(root, reflect.TypeFor[Config](), "")
	if len(c.problems) > 0 {
		return Config{}, errors.Join(c.problems...)
	}
	if err := root.Decode(&conf); err != nil {
		return Config{}, &Problem{Path: path, Message: strings.TrimPrefix(err.Error(), "yaml: ")}
	}
	for label, r := range conf.Runners {
		if r.Pool == "" {
			r.Pool = DefaultPool
			conf.Runners[label] = r
		}
	}
	return conf, conf.check(path, root)
}

// checker holds a YAML tree against the shape of a Go type.
type checker struct {
	path     string
	problems []error
}

func (c *checker) add(n *yaml.Node, hint, format string, args ...any) {
	c.problems = append(c.problems, &Problem{Path: c.path, Line: n.Line, Column: n.Column, Message: fmt.Sprintf(format, args...), Hint: hint})
}

var durationType = reflect.TypeFor[Duration]()

func (c *checker) node(n *yaml.Node, t reflect.Type, at string) {
	if n.Kind == yaml.AliasNode {
		c.add(n, "write the value out", "`%s`: aliases are not supported in this file", at)
		return
	}
	switch {
	case t == durationType:
		c.scalar(n, at, "!!str", "a duration such as 30s or 1m30s")
		if n.Kind == yaml.ScalarNode && new(Duration).UnmarshalText([]byte(n.Value)) != nil {
			c.add(n, "such as 30s or 1m30s", "`%s`: %q is not a duration", at, n.Value)
		}
	case t.Kind() == reflect.Struct:
		c.fields(n, t, at)
	case t.Kind() == reflect.Map:
		c.pairs(n, at, func(key *yaml.Node, value *yaml.Node) { c.node(value, t.Elem(), join(at, key.Value)) })
	case t.Kind() == reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			c.add(n, "", "`%s` must be a list", at)
			return
		}
		for _, item := range n.Content {
			c.node(item, t.Elem(), at)
		}
	case t.Kind() == reflect.Bool:
		c.scalar(n, at, "!!bool", "true or false")
	case t.Kind() == reflect.Int64:
		c.scalar(n, at, "!!int", "a whole number")
	default:
		c.scalar(n, at, "!!str", "a string")
	}
}

func (c *checker) scalar(n *yaml.Node, at, tag, want string) {
	if n.Kind != yaml.ScalarNode || n.ShortTag() != tag {
		c.add(n, "", "`%s` must be %s", at, want)
	}
}

func (c *checker) fields(n *yaml.Node, t reflect.Type, at string) {
	byKey := map[string]reflect.Type{}
	var known []string
	for f := range t.Fields() {
		key := f.Tag.Get("yaml")
		byKey[key] = f.Type
		known = append(known, key)
	}
	slices.Sort(known)
	c.pairs(n, at, func(key, value *yaml.Node) {
		ft, ok := byKey[key.Value]
		if !ok {
			hint := diag.DidYouMean(key.Value, known)
			if hint == "" {
				hint = "known here: " + strings.Join(known, ", ")
			}
			c.add(key, hint, "unknown key `%s`", join(at, key.Value))
			return
		}
		c.node(value, ft, join(at, key.Value))
	})
}

func (c *checker) pairs(n *yaml.Node, at string, each func(key, value *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		if at == "" {
			at = "the file"
		}
		c.add(n, "", "`%s` must be a mapping", at)
		return
	}
	seen := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		switch {
		case key.Kind != yaml.ScalarNode || key.ShortTag() == "!!merge":
			c.add(key, "", "a key must be plain text")
		case seen[key.Value]:
			c.add(key, "", "`%s` is there twice", join(at, key.Value))
		default:
			each(key, n.Content[i+1])
		}
		seen[key.Value] = true
	}
}

func join(at, key string) string {
	if at == "" {
		return key
	}
	return at + "." + key
}
