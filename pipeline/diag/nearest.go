package diag

import "strings"

// Nearest returns the candidate that is most like word, or "" if none is near enough to be meant.
func Nearest(word string, candidates []string) string {
	// Nobody has a slip among so many in mind, and looking costs.
	if len(word) > 64 || len(candidates) > 1000 {
		return ""
	}
	// One slip in three characters, and at least one.
	best, bestDistance := "", max((len(word)+1)/3, 1)+1
	lower := strings.ToLower(word)
	for _, c := range candidates {
		if len(c) > len(word)+bestDistance || len(word) > len(c)+bestDistance {
			continue
		}
		if d := distance(lower, strings.ToLower(c)); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// DidYouMean is a hint naming the nearest candidate, or "" if there is none.
func DidYouMean(word string, candidates []string) string {
	if n := Nearest(word, candidates); n != "" {
		return "did you mean `" + n + "`?"
	}
	return ""
}

// distance counts insertions, deletions, substitutions and swaps of neighbours (optimal string alignment).
func distance(a, b string) int {
	before := make([]int, len(b)+1)
	previous := make([]int, len(b)+1)
	current := make([]int, len(b)+1)
	for j := range previous {
		previous[j] = j
	}
	for i := 1; i <= len(a); i++ {
		current[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			current[j] = min(previous[j]+1, current[j-1]+1, previous[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				current[j] = min(current[j], before[j-2]+1)
			}
		}
		before, previous, current = previous, current, before
	}
	return previous[len(b)]
}
