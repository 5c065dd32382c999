package logs

// Bounds of the masks of a job. A step that declares more has the rest of its output hidden, and fails.
const (
	MaxMasks     = 10_000
	MaxMaskBytes = 1 << 20
)

// Masks is a set of secrets that are searched for all at once (Aho and Corasick, 1975): what a byte costs depends neither
// on how many they are nor on how long. The zero value is an empty set.
type Masks struct {
	// nodes of the trie of all masks; the root is the first.
	nodes []node
	// root has the children of the root by their byte.
	root   [256]int32
	count  int
	linked bool
}

type node struct {
	label byte
	// mask: a mask ends here.
	mask bool
	// child is the first child, sibling the next child of the same parent; 0 for none.
	child, sibling int32
	// fail is the node of the longest proper suffix that is in the trie.
	fail int32
	// depth is how many bytes lead here.
	depth int32
	// longest is the length of the longest mask that ends with what leads here.
	longest int32
	// hold is how many of the last bytes may be the beginning of a mask that is not complete yet.
	hold int32
}

// NewMasks returns the set of these values.
func NewMasks(values ...string) *Masks {
	s := &Masks{}
	for _, v := range values {
		s.Add(v)
	}
	return s
}

// Add puts a value into the set; false if the set is full.
func (s *Masks) Add(value string) bool {
	if value == "" {
		return true
	}
	if s.count >= MaxMasks || len(s.nodes)+len(value) > MaxMaskBytes {
		return false
	}
	if len(s.nodes) == 0 {
		s.nodes = append(s.nodes, node{})
	}
	at := int32(0)
	for i := range len(value) {
		at = s.grow(at, value[i])
	}
	if !s.nodes[at].mask {
		s.nodes[at].mask = true
		s.count++
		s.linked = false
	}
	return true
}

func (s *Masks) grow(parent int32, b byte) int32 {
	if c := s.childOf(parent, b); c != 0 {
		return c
	}
	n := int32(len(s.nodes))
	s.nodes = append(s.nodes, node{label: b, sibling: s.nodes[parent].child, depth: s.nodes[parent].depth + 1})
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

// link computes what depends on the whole trie, nearest to the root first.
func (s *Masks) link() {
	if s.linked || len(s.nodes) == 0 {
		return
	}
	s.linked = true
	queue := make([]int32, 1, len(s.nodes))
	for i := 0; i < len(queue); i++ {
		at := queue[i]
		for c := s.nodes[at].child; c != 0; c = s.nodes[c].sibling {
			n := &s.nodes[c]
			n.fail = 0
			if at != 0 {
				n.fail = s.next(s.nodes[at].fail, n.label)
			}
			n.longest, n.hold = s.nodes[n.fail].longest, s.nodes[n.fail].hold
			if n.mask {
				n.longest = n.depth
			}
			if n.child != 0 {
				n.hold = n.depth
			}
			queue = append(queue, c)
		}
	}
}

// Hide masks a whole text, as a log would.
func (s *Masks) Hide(text string) string {
	if s.count == 0 {
		return text
	}
	m := Masker{masks: s}
	return string(m.Flush(m.Write(nil, []byte(text))))
}

// Hides says whether a text holds something that is masked.
func (s *Masks) Hides(text string) bool {
	if s.count == 0 {
		return false
	}
	m := Masker{masks: s}
	m.Flush(m.Write(nil, []byte(text)))
	return m.changed
}
