package simulation

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// entry is one line of a history. It is put into words only when somebody reads it.
type entry struct {
	at   time.Duration
	who  string
	text string
	args []any
	// about are the entities concerned: runs, attempts, agents. Empty concerns all.
	about []string
}

func (e entry) String() string {
	return fmt.Sprintf("%10.3fs %-5s %s", e.at.Seconds(), e.who, fmt.Sprintf(e.text, e.args...))
}

// history is what happened.
type history struct {
	l       *loop
	entries []entry
	// kin are names that belong together: a run's attempts.
	kin map[string]string
}

func (h *history) add(who string, about []string, text string, args ...any) {
	h.entries = append(h.entries, entry{at: h.l.now, who: who, text: text, args: args, about: about})
}

// relate says that an attempt belongs to a run.
func (h *history) relate(attempt, run string) { h.kin[attempt] = run }

// Digest is a hash over every line.
func (h *history) Digest() string {
	sum := sha256.New()
	for _, e := range h.entries {
		fmt.Fprintln(sum, e)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// trim returns the lines about some entities, and what befell processes and network; at most the last max lines.
func (h *history) trim(about []string, most int) string {
	want := map[string]bool{}
	for _, a := range about {
		want[a] = true
		if run := h.kin[a]; run != "" {
			want[run] = true
		}
	}
	var lines []string
	for _, e := range h.entries {
		concerned := len(e.about) == 0 || len(about) == 0
		for _, a := range e.about {
			concerned = concerned || want[a] || want[h.kin[a]]
		}
		if concerned {
			lines = append(lines, e.String())
		}
	}
	if left := len(lines) - most; left > 0 {
		lines = append([]string{fmt.Sprintf("… %d earlier lines", left)}, lines[left:]...)
	}
	return strings.Join(lines, "\n")
}

// sortedKeys are a map's keys in order.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// difference is where two histories part; "" if they are the same.
func difference(a, b *Result) string {
	for i := range a.history.entries {
		if i == len(b.history.entries) {
			return "the second one ends after " + a.history.entries[i].String()
		}
		x, y := a.history.entries[i].String(), b.history.entries[i].String()
		if x == y {
			continue
		}
		var lines []string
		for j := max(0, i-5); j < min(len(a.history.entries), len(b.history.entries), i+3); j++ {
			lines = append(lines, "1: "+a.history.entries[j].String(), "2: "+b.history.entries[j].String())
		}
		return strings.Join(lines, "\n")
	}
	return ""
}
