package expr

import "unicode/utf16"

// Length is how GitHub counts an expression's characters: as UTF-16 does.
func Length(src string) int { return utf16Length(src) }

// utf16Length is the length that .NET sees, in which a character beyond the basic plane counts twice.
func utf16Length(s string) (n int) {
	for _, r := range s {
		n += utf16.RuneLen(r)
	}
	return n
}

// tooManyArgs returns a call with more arguments than GitHub counts in a byte, or nil.
func tooManyArgs(root node) *call {
	stack := []node{root}
	for len(stack) > 0 {
		n := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if c, ok := n.(*call); ok && len(c.args) > MaxArity {
			return c
		}
		stack = append(stack, children(n)...)
	}
	return nil
}

// tooDeep returns a node below maxDepth levels, or nil. It does not recurse: chains of accessors may be long.
func tooDeep(root node, maxDepth int) node {
	level := []node{root}
	for depth := 1; len(level) > 0; depth++ {
		if depth > maxDepth {
			return level[0]
		}
		var below []node
		for _, n := range level {
			below = append(below, children(n)...)
		}
		level = below
	}
	return nil
}
