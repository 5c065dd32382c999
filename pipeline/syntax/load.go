package syntax

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/slipway-ci/slipway/pipeline/diag"
)

// Limits bound what a file may cost. The zero value of each is its default.
type Limits struct {
	// Size in bytes; default 1 MiB.
	Size int
	// Depth of nested lists and mappings; default 64.
	Depth int
	// Aliased is how many nodes may be reached through aliases; default 20,000.
	Aliased int
}

func (l Limits) orDefaults() Limits {
	set := func(n *int, def int) {
		if *n == 0 {
			*n = def
		}
	}
	set(&l.Size, 1<<20)
	set(&l.Depth, 64)
	set(&l.Aliased, 20_000)
	return l
}

// load returns the root mapping of the file, or nil after a finding.
func (r *reader) load(src []byte) *yaml.Node {
	if len(src) > r.limits.Size {
		r.report(Pos{}, "file-too-large", "a workflow file must not be larger than what a person can review; generate less, or split it",
			"the file has %s, and %s are allowed", bytesText(len(src)), bytesText(r.limits.Size))
		return nil
	}
	src = bytes.TrimPrefix(src, []byte("\xef\xbb\xbf"))
	if i := bytes.IndexByte(src, 0); i >= 0 || !utf8.Valid(src) {
		r.report(Pos{}, "not-text", "give a YAML file in UTF-8", "the file is not text: it holds bytes that are not UTF-8 text")
		return nil
	}
	if len(bytes.TrimSpace(src)) == 0 {
		r.report(Pos{}, "empty-file", r.needs, "the file is empty")
		return nil
	}
	r.file.source = newSource(string(src))
	document := r.decode(src)
	if document == nil {
		return nil
	}
	if len(document.Content) == 0 {
		r.report(Pos{1, 1}, "empty-file", r.needs, "the file holds only comments")
		return nil
	}
	root := document.Content[0]
	if !r.withinLimits(root) {
		return nil
	}
	if resolve(root).Kind != yaml.MappingNode {
		r.report(pos(root), "not-a-mapping", r.needs,
			"the file must be a mapping of keys, and it is %s", shape(resolve(root)))
		return nil
	}
	return root
}

// decode parses YAML. A panic of the parser underneath would be a bug of it, and of no concern to who sent the file.
func (r *reader) decode(src []byte) (document *yaml.Node) {
	defer func() {
		if p := recover(); p != nil {
			document = nil
			r.report(Pos{}, "not-yaml", "", "the file is not YAML: the parser gave up (%v)", p)
		}
	}()
	decoder := yaml.NewDecoder(bytes.NewReader(src))
	document = &yaml.Node{}
	if err := decoder.Decode(document); err != nil {
		if errors.Is(err, io.EOF) {
			return &yaml.Node{}
		}
		r.notYAML(err)
		return nil
	}
	second := &yaml.Node{}
	switch err := decoder.Decode(second); {
	case errors.Is(err, io.EOF):
		return document
	case err != nil:
		r.notYAML(err)
	default:
		r.report(pos(second), "several-documents", "put each workflow in a file of its own", "the file holds more than one YAML document")
	}
	return nil
}

// parserMessages are those of yaml/v3's parser, as opposed to its scanner.
var parserMessages = []string{
	"did not find expected node content", "did not find expected '-' indicator", "did not find expected key",
	"did not find expected ',' or ']'", "did not find expected ',' or '}'", "did not find expected <document start>",
	"found undefined tag handle", "found duplicate %YAML directive", "found duplicate %TAG directive",
}

var yamlLine = regexp.MustCompile(`^line (\d+): `)

// notYAML gives the parser's error its place: the library tells the line only in its text.
func (r *reader) notYAML(err error) {
	message := strings.TrimPrefix(err.Error(), "yaml: ")
	at := Pos{Line: 1, Column: 1}
	if m := yamlLine.FindStringSubmatch(message); m != nil {
		message = message[len(m[0]):]
		if n, err := strconv.Atoi(m[1]); err == nil {
			at.Line = n
		}
	}
	// The library counts from 1 in what its scanner says, and from 0 in what its parser says.
	if slices.Contains(parserMessages, message) {
		at.Line = min(at.Line+1, len(r.file.source.lines))
	}
	hint := ""
	if strings.Contains(message, "cannot start any token") {
		hint = "a text that begins with @, ` or % and such must be quoted; indent with spaces, not tabs"
	}
	r.report(at, "not-yaml", hint, "the file is not YAML: %s", message)
}

// withinLimits bounds depth and alias growth before anything follows an alias. Each node's size is counted once.
func (r *reader) withinLimits(root *yaml.Node) bool {
	c := sizer{limits: r.limits, sizes: map[*yaml.Node]int{}}
	c.size(root, 1)
	switch {
	case c.tooDeep != nil:
		r.report(pos(c.tooDeep), "too-deep", "", "lists and mappings are nested deeper than %d here", r.limits.Depth)
	case c.cycle != nil:
		r.report(pos(c.cycle), "alias-cycle", "", "the alias `*%s` stands inside the value that it stands for", c.cycle.Value)
	case c.tooMany != nil:
		r.report(pos(c.tooMany), "alias-expansion", "write the values out, or alias less",
			"the aliases of the file expand to more than %d values", r.limits.Aliased)
	default:
		return true
	}
	return false
}

type sizer struct {
	limits                  Limits
	sizes                   map[*yaml.Node]int // -1 while being counted
	aliased                 int
	tooDeep, cycle, tooMany *yaml.Node
}

func (c *sizer) stopped() bool { return c.tooDeep != nil || c.cycle != nil || c.tooMany != nil }

// size is the number of nodes below and with n, aliases expanded. The depth of an aliased value is that of its anchor.
func (c *sizer) size(n *yaml.Node, depth int) int {
	if c.stopped() {
		return 0
	}
	if depth > c.limits.Depth {
		c.tooDeep = n
		return 0
	}
	if n.Kind == yaml.AliasNode {
		size := c.sizes[n.Alias]
		if size < 0 {
			c.cycle = n
			return 0
		}
		if c.aliased += size; c.aliased > c.limits.Aliased {
			c.tooMany = n
		}
		return size
	}
	if n.Anchor != "" {
		c.sizes[n] = -1
	}
	size := 1
	for _, child := range n.Content {
		size += c.size(child, depth+1)
	}
	if n.Anchor != "" {
		c.sizes[n] = size
	}
	return size
}

func resolve(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

func pos(n *yaml.Node) Pos { return Pos{n.Line, n.Column} }

func bytesText(n int) string {
	const mib = 1 << 20
	if n >= mib {
		return strings.TrimSuffix(fmt.Sprintf("%.1f", float64(n)/mib), ".0") + " MiB"
	}
	return strconv.Itoa(n) + " bytes"
}

// shape says what a node is, with its article.
func shape(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.DocumentNode, yaml.AliasNode, yaml.ScalarNode:
	}
	switch kind, _ := scalarKind(n); kind {
	case NullScalar:
		return "empty"
	case BoolScalar:
		return "a boolean"
	case NumberScalar:
		return "a number"
	case StringScalar:
	}
	return "a string"
}

// severity of what this package finds, but for what GitHub does not mind in an action.
const severity = diag.Error
