package trigger

import (
	"fmt"
	"unicode/utf8"
)

// Glob is one filter pattern of GitHub's: * is anything but a slash, ** anything, ? makes the character before it
// optional, + repeats it, [] is one of a set. Everything else, and what follows a backslash, is itself.
type Glob struct {
	atoms []atom
	// Negated: the pattern began with !.
	Negated bool
}

type atom struct {
	kind atomKind
	char rune
	set  []span
	// not: the set is of what must not be there.
	not      bool
	optional bool // ?
	repeated bool // +
}

type atomKind uint8

const (
	atomChar atomKind = iota
	atomSet
	atomStar       // any number of characters but /
	atomDoubleStar // any number of characters
	atomSkip       // no character: the two atoms after it, ** and /, may be left out
)

type span struct{ from, to rune }

// maxGlob bounds a pattern: matching takes its length times the text's.
const maxGlob = 1000

// ParseGlob reads a pattern.
func ParseGlob(pattern string) (*Glob, error) {
	if pattern == "" || !utf8.ValidString(pattern) {
		return nil, fmt.Errorf("the pattern is empty or no text")
	}
	if len(pattern) > maxGlob {
		return nil, fmt.Errorf("the pattern is longer than %d bytes", maxGlob)
	}
	g := &Glob{}
	runes := []rune(pattern)
	if runes[0] == '!' {
		g.Negated = true
		if runes = runes[1:]; len(runes) == 0 {
			return nil, fmt.Errorf("nothing follows the `!`")
		}
	}
	for i := 0; i < len(runes); {
		n, err := g.next(runes[i:])
		if err != nil {
			return nil, fmt.Errorf("%w at character %d", err, i+1)
		}
		i += n
	}
	return g, nil
}

// next reads one item and returns its length.
func (g *Glob) next(r []rune) (int, error) {
	switch r[0] {
	case '*':
		if len(r) > 1 && r[1] == '*' {
			n := len(g.atoms)
			first := n == 0 || g.atoms[n-1].kind == atomChar && g.atoms[n-1].char == '/'
			if first && len(r) > 2 && r[2] == '/' {
				g.atoms = append(g.atoms, atom{kind: atomSkip})
			}
			g.atoms = append(g.atoms, atom{kind: atomDoubleStar})
			return 2, nil
		}
		g.atoms = append(g.atoms, atom{kind: atomStar})
		return 1, nil
	case '?', '+':
		if len(g.atoms) == 0 || g.atoms[len(g.atoms)-1].kind >= atomStar {
			return 0, fmt.Errorf("`%c` has no character before it", r[0])
		}
		last := &g.atoms[len(g.atoms)-1]
		last.optional = last.optional || r[0] == '?'
		last.repeated = last.repeated || r[0] == '+'
		return 1, nil
	case '[':
		return g.set(r)
	case '\\':
		if len(r) == 1 {
			return 0, fmt.Errorf("nothing follows the backslash")
		}
		g.atoms = append(g.atoms, atom{char: r[1]})
		return 2, nil
	}
	g.atoms = append(g.atoms, atom{char: r[0]})
	return 1, nil
}

func (g *Glob) set(r []rune) (int, error) {
	a := atom{kind: atomSet}
	i := 1
	if i < len(r) && (r[i] == '!' || r[i] == '^') {
		a.not = true
		i++
	}
	for ; i < len(r) && (r[i] != ']' || len(a.set) == 0); i++ {
		from := r[i]
		to := from
		if i+2 < len(r) && r[i+1] == '-' && r[i+2] != ']' {
			to = r[i+2]
			i += 2
		}
		if to < from {
			return 0, fmt.Errorf("the range %c-%c goes backwards", from, to)
		}
		a.set = append(a.set, span{from, to})
	}
	if i >= len(r) {
		return 0, fmt.Errorf("`[` has no closing `]`")
	}
	g.atoms = append(g.atoms, a)
	return i + 1, nil
}

func (a *atom) takes(r rune) bool {
	switch a.kind {
	case atomChar:
		return a.char == r
	case atomSet:
		for _, s := range a.set {
			if s.from <= r && r <= s.to {
				return !a.not
			}
		}
		return a.not
	case atomStar:
		return r != '/'
	case atomDoubleStar:
		return true
	case atomSkip:
	}
	return false
}

// Match reports whether the pattern, its ! aside, matches all of text. It walks all ways at once, so it is bounded by
// the product of both lengths.
func (g *Glob) Match(text string) bool {
	here := make([]bool, len(g.atoms)+1)
	next := make([]bool, len(g.atoms)+1)
	g.enter(here, 0)
	for _, r := range text {
		clear(next)
		for i := range g.atoms {
			a := &g.atoms[i]
			if !here[i] || !a.takes(r) {
				continue
			}
			if a.kind >= atomStar {
				g.enter(next, i)
				continue
			}
			g.enter(next, i+1)
			if a.repeated {
				g.enter(next, i)
			}
		}
		here, next = next, here
	}
	return here[len(g.atoms)]
}

// enter marks the place before atom i, and those that can be reached by taking nothing.
func (g *Glob) enter(places []bool, i int) {
	for ; i <= len(g.atoms) && !places[i]; i++ {
		places[i] = true
		if i < len(g.atoms) && g.atoms[i].kind == atomSkip {
			g.enter(places, i+3)
		}
		if i == len(g.atoms) || g.atoms[i].kind < atomStar && !g.atoms[i].optional {
			return
		}
	}
}
