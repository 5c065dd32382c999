package check

import "strings"

// names is a set of names, of which case does not matter, in the order of the file.
type names struct {
	list []string
	set  map[string]bool
}

func (n *names) add(name string) {
	if n.set == nil {
		n.set = map[string]bool{}
	}
	n.list = append(n.list, name)
	n.set[strings.ToLower(name)] = true
}

func (n *names) has(name string) bool { return n.set[strings.ToLower(name)] }
