package logs

import (
	"slices"

	"github.com/slipway-ci/slipway/agent/commands"
)

// Bounds of the masks of a job. A step that declares more has the rest of its output hidden, and fails. What counts is
// what a value costs: its bytes in all its forms, with beginnings that they share once. A token is some ten times its
// length, a PEM file, which is hidden line by line as well, some twenty-five times.
const (
	MaxMasks     = 10_000
	MaxMaskBytes = 2 << 20
)

// Masks is a set of values that are hidden wherever they appear, in any of their Forms, and of values of several lines
// each line. All forms are searched for at once (Aho and Corasick, 1975): what a byte costs depends neither on how many
// they are nor on how long. A set does not change once others have it, so it may be shared; nil is the empty set.
type Masks struct {
	// nodes of the trie of all forms; the root is the first.
	nodes []node
	// root has the children of the root by their byte.
	root [256]int32
	// pairs has a bit for every two bytes with which a form may begin.
	pairs [1 << 16 / 64]uint64
	// count of values.
	count  int
	linked bool
	// full: there were too many. Such a set hides everything, as anything may be what did not fit in.
	full bool
}

type node struct {
	// child is the first child, sibling the next child of the same parent; 0 for none.
	child, sibling int32
	// fail is the node of the longest proper suffix that is in the trie.
	fail int32
	// longest is the length of the longest form that ends with what leads here.
	longest int32
	// hold is how many of the last bytes may be the beginning of a form that is not complete yet.
	hold  int32
	label byte
	// form: one ends here.
	form bool
}

// NewMasks returns the set that hides these values. Blank ones hide nothing.
func NewMasks(values ...string) *Masks { return (*Masks)(nil).With(values...) }

// With returns a set that hides these values too.
func (s *Masks) With(values ...string) *Masks {
	next := s.clone()
	for _, v := range values {
		next.add(v)
	}
	next.link()
	return next
}

// Full says whether there were too many values, so that the set hides everything.
func (s *Masks) Full() bool { return s != nil && s.full }

func (s *Masks) empty() bool { return s == nil || s.count == 0 && !s.full }

func (s *Masks) clone() *Masks {
	if s == nil {
		return &Masks{}
	}
	c := *s
	c.nodes = slices.Clone(s.nodes)
	return &c
}

// add puts a value into the set, or makes the set full.
func (s *Masks) add(value string) {
	parts := commands.Masks(value)
	if len(parts) == 0 || s.full {
		return
	}
	if s.count++; s.count > MaxMasks {
		s.full = true
		return
	}
	for _, part := range parts {
		for _, form := range Forms(part) {
			if !s.insert(form) {
				s.full = true
				return
			}
		}
	}
}

func (s *Masks) insert(form string) bool {
	if len(s.nodes) == 0 {
		s.nodes = append(s.nodes, node{})
	}
	at := int32(0)
	for i := range len(form) {
		if at = s.grow(at, form[i]); len(s.nodes) > MaxMaskBytes {
			return false
		}
	}
	if !s.nodes[at].form {
		s.nodes[at].form = true
		s.linked = false
	}
	return true
}

func (s *Masks) grow(parent int32, b byte) int32 {
	if c := s.childOf(parent, b); c != 0 {
		return c
	}
	n := int32(len(s.nodes))
	s.nodes = append(s.nodes, node{label: b, sibling: s.nodes[parent].child})
	s.nodes[parent].child = n
	if parent == 0 {
		s.root[b] = n
	}
	return n
}

func (s *Masks) childOf(parent int32, b byte) int32 {
	if parent == 0 {
		return s.root[b]
	}
	c := s.nodes[parent].child
	for c != 0 && s.nodes[c].label != b {
		c = s.nodes[c].sibling
	}
	return c
}

// next is where a byte leads from a node.
func (s *Masks) next(at int32, b byte) int32 {
	for {
		if c := s.childOf(at, b); c != 0 || at == 0 {
			return c
		}
		at = s.nodes[at].fail
	}
}

// skip is how many bytes at the beginning of p begin no form.
func (s *Masks) skip(p []byte) int {
	last := len(p) - 1
	for i := range last {
		pair := uint(p[i])<<8 | uint(p[i+1])
		if s.pairs[pair>>6]&(1<<(pair&63)) != 0 {
			return i
		}
	}
	if s.root[p[last]] != 0 {
		return last
	}
	return len(p)
}

// link computes what depends on the whole trie, nearest to the root first.
func (s *Masks) link() {
	if s.linked || len(s.nodes) == 0 {
		return
	}
	s.linked = true
	queue := make([]int32, 1, len(s.nodes))
	for i, end, depth := 0, 1, int32(1); i < len(queue); depth++ {
		for ; i < end; i++ {
			at := queue[i]
			for c := s.nodes[at].child; c != 0; c = s.nodes[c].sibling {
				s.linkNode(at, c, depth)
				queue = append(queue, c)
			}
		}
		end = len(queue)
	}
	s.linkPairs()
}

func (s *Masks) linkNode(parent, at, depth int32) {
	n := &s.nodes[at]
	n.fail = 0
	if parent != 0 {
		n.fail = s.next(s.nodes[parent].fail, n.label)
	}
	n.longest, n.hold = s.nodes[n.fail].longest, s.nodes[n.fail].hold
	if n.form {
		n.longest = depth
	}
	if n.child != 0 {
		n.hold = depth
	}
}

func (s *Masks) linkPairs() {
	set := func(first, second byte) {
		pair := uint(first)<<8 | uint(second)
		s.pairs[pair>>6] |= 1 << (pair & 63)
	}
	for c := s.nodes[0].child; c != 0; c = s.nodes[c].sibling {
		first := s.nodes[c]
		for second := range 256 {
			if first.form {
				set(first.label, byte(second))
			}
		}
		for cc := first.child; cc != 0; cc = s.nodes[cc].sibling {
			set(first.label, s.nodes[cc].label)
		}
	}
}

// Hide masks a whole text, as a log would.
func (s *Masks) Hide(text string) string {
	switch {
	case s.empty() || text == "":
		return text
	case s.full:
		return string(stars)
	}
	m := Masker{masks: s}
	return string(m.Flush(m.Write(nil, []byte(text))))
}

// Hides says whether a text holds something that is masked.
func (s *Masks) Hides(text string) bool {
	if s.empty() || text == "" || s.full {
		return s.Full() && text != ""
	}
	m := Masker{masks: s}
	m.Flush(m.Write(nil, []byte(text)))
	return m.changed
}
