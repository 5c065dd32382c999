package logs

import (
	"bytes"
	"slices"
)

// stars stands for every masked run of bytes, however long.
var stars = []byte("***")

// Masker replaces secrets in a stream. A byte is masked if any occurrence of any mask covers it; each maximal run of
// masked bytes becomes `***`. So what comes out depends only on what went in, never on how it was cut into chunks: a
// restarted agent makes the same bytes again.
type Masker struct {
	masks   [][]byte
	longest int
	// held are the bytes that may still become part of a match.
	held []byte
	// covered bytes at the start of held are known to be masked.
	covered int
	// inRun: the last byte put out was masked.
	inRun bool
	// changed: something was masked already.
	changed bool
}

// Add makes a mask apply to what is written from now on. What was held back is decided first, so its result goes to out.
func (m *Masker) Add(out []byte, values ...string) []byte {
	out = m.Flush(out)
	for _, v := range values {
		if b := []byte(v); v != "" && !slices.ContainsFunc(m.masks, func(x []byte) bool { return bytes.Equal(x, b) }) {
			m.masks = append(m.masks, b)
			m.longest = max(m.longest, len(b))
		}
	}
	return out
}

// Write appends to out what p lets be decided, and returns it.
func (m *Masker) Write(out, p []byte) []byte {
	if m.longest == 0 {
		return append(out, p...)
	}
	m.held = append(m.held, p...)
	return m.decide(out, m.decidable())
}

// decidable is how many held bytes no match that is still incomplete can reach back to. Only what may become a match is
// held back, so that a live log does not lag.
func (m *Masker) decidable() int {
	for i := max(0, len(m.held)-m.longest+1); i < len(m.held); i++ {
		rest := m.held[i:]
		for _, mask := range m.masks {
			if len(mask) > len(rest) && bytes.HasPrefix(mask, rest) {
				return i
			}
		}
	}
	return len(m.held)
}

// Flush decides all that is held, as at the end of the stream.
func (m *Masker) Flush(out []byte) []byte {
	out = m.decide(out, len(m.held))
	m.inRun = false
	return out
}

// decide puts out the first n held bytes; matches that start before n are all visible by then.
func (m *Masker) decide(out []byte, n int) []byte {
	if n <= 0 {
		return out
	}
	pos := 0
	for _, r := range m.ranges(n) {
		if r.from >= n {
			break
		}
		if r.from > pos {
			out = append(out, m.held[pos:r.from]...)
			m.inRun = false
		}
		if !m.inRun {
			out = append(out, stars...)
			m.inRun, m.changed = true, true
		}
		pos = min(r.to, n)
		m.covered = max(m.covered, r.to)
	}
	if pos < n {
		out = append(out, m.held[pos:n]...)
		m.inRun = false
	}
	m.held = append(m.held[:0], m.held[n:]...)
	m.covered = max(0, m.covered-n)
	return out
}

type span struct{ from, to int }

// ranges returns the merged spans of held that are masked by matches starting before n, in order.
func (m *Masker) ranges(n int) []span {
	var all []span
	if m.covered > 0 {
		all = append(all, span{0, m.covered})
	}
	for _, mask := range m.masks {
		for from := 0; ; {
			i := bytes.Index(m.held[from:max(from, min(len(m.held), n-1+len(mask)))], mask)
			if i < 0 {
				break
			}
			all = append(all, span{from + i, from + i + len(mask)})
			// Occurrences may overlap themselves: "aa" in "aaa" covers all three.
			from += i + 1
			if from >= n {
				break
			}
		}
	}
	slices.SortFunc(all, func(a, b span) int { return a.from - b.from })
	merged := all[:0]
	for _, s := range all {
		if k := len(merged); k > 0 && s.from <= merged[k-1].to {
			merged[k-1].to = max(merged[k-1].to, s.to)
		} else {
			merged = append(merged, s)
		}
	}
	return merged
}
