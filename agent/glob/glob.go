// Package glob finds files by the patterns of GitHub's actions toolkit, as upload-artifact's `path` and hashFiles() use
// them: `*`, `?`, `[…]` and `**`, `!` to exclude, a directory means all that is in it, the order of patterns counts.
package glob

import (
	"path"
	"slices"
	"strings"
)

// Set is a list of patterns over absolute slash-separated paths. Matching is linear in the path's length.
type Set struct {
	patterns []pattern
}

type pattern struct {
	exclude  bool
	segments []string
	// static is the pattern's part before its first wildcard: where a search begins.
	static string
	// literal: it has no wildcard at all.
	literal bool
}

// Compile reads patterns, one a line; blank lines and those that begin with # are skipped. Relative ones begin at base,
// `~` at home; both are absolute.
func Compile(lines []string, base, home string) *Set {
	s := &Set{}
	for _, line := range lines {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		p := pattern{}
		for strings.HasPrefix(line, "!") {
			p.exclude = !p.exclude
			line = strings.TrimSpace(line[1:])
		}
		switch {
		case line == "~" || strings.HasPrefix(line, "~/"):
			line = home + line[1:]
		case !strings.HasPrefix(line, "/"):
			line = base + "/" + line
		}
		p.compile(path.Clean(line))
		s.patterns = append(s.patterns, p)
	}
	return s
}

func (p *pattern) compile(clean string) {
	p.segments = split(clean)
	n := 0
	for n < len(p.segments) && !strings.ContainsAny(p.segments[n], "*?[") {
		n++
	}
	p.static = "/" + strings.Join(p.segments[:n], "/")
	p.literal = n == len(p.segments)
	// What a pattern names stands for all beneath it, too.
	if p.literal || p.segments[len(p.segments)-1] != "**" {
		p.segments = append(p.segments, "**")
	}
}

func split(p string) []string {
	p = strings.Trim(p, "/")
	if p == "" {
		return nil
	}
	return strings.Split(p, "/")
}

// Empty says whether no pattern includes anything.
func (s *Set) Empty() bool {
	return !slices.ContainsFunc(s.patterns, func(p pattern) bool { return !p.exclude })
}

// SearchPaths returns where files can be, without paths inside others, in the patterns' order.
func (s *Set) SearchPaths() []string {
	var all []string
	for _, p := range s.patterns {
		if !p.exclude && !slices.Contains(all, p.static) {
			all = append(all, p.static)
		}
	}
	return slices.DeleteFunc(slices.Clone(all), func(p string) bool {
		return slices.ContainsFunc(all, func(q string) bool { return q != p && Within(p, q) })
	})
}

// Within says whether p is dir or beneath it.
func Within(p, dir string) bool {
	return p == dir || dir == "/" || strings.HasPrefix(p, dir+"/")
}

// Match says whether the patterns, taken in order, include the path at last.
func (s *Set) Match(p string) bool {
	parts := split(p)
	in := false
	for _, pat := range s.patterns {
		if pat.exclude == in {
			if full, _ := pat.match(parts); full {
				in = !pat.exclude
			}
		}
	}
	return in
}

// CouldHold says whether something beneath the directory p may match.
func (s *Set) CouldHold(p string) bool {
	parts := split(p)
	return slices.ContainsFunc(s.patterns, func(pat pattern) bool {
		_, prefix := pat.match(parts)
		return !pat.exclude && prefix
	})
}

// match walks the pattern's states along the path: full if it ends in the last, prefix if more path may follow.
func (p pattern) match(parts []string) (full, prefix bool) {
	n := len(p.segments)
	now, next := make([]bool, n+1), make([]bool, n+1)
	open := func(states []bool, i int) {
		states[i] = true
		for ; i < n && p.segments[i] == "**"; i++ {
			states[i+1] = true
		}
	}
	open(now, 0)
	for _, part := range parts {
		clear(next)
		for i := range n {
			switch {
			case !now[i]:
			case p.segments[i] == "**":
				open(next, i)
			case segmentMatch(p.segments[i], part):
				open(next, i+1)
			}
		}
		now, next = next, now
	}
	return now[n], slices.Contains(now[:n], true)
}

func segmentMatch(pattern, name string) bool {
	ok, err := path.Match(strings.ReplaceAll(pattern, "[!", "[^"), name)
	if err != nil {
		// A bracket that does not close stands for itself.
		return pattern == name
	}
	return ok
}

// CommonAncestor returns the deepest directory that holds all the paths.
func CommonAncestor(paths []string) string {
	if len(paths) == 0 {
		return "/"
	}
	common := split(paths[0])
	for _, p := range paths[1:] {
		parts := split(p)
		n := 0
		for n < len(common) && n < len(parts) && common[n] == parts[n] {
			n++
		}
		common = common[:n]
	}
	return "/" + strings.Join(common, "/")
}
