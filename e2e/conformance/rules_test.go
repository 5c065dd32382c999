package conformance

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// rule is one line of RULES.md.
type rule struct {
	id, text string
	// later: its cases come with part two of the language.
	later bool
}

var ruleLine = regexp.MustCompile(`^- \*\*([A-Z][0-9]+[a-z]?)\*\* (.+)$`)

func loadRules() ([]rule, error) {
	text, err := os.ReadFile("RULES.md")
	if err != nil {
		return nil, err
	}
	var rules []rule
	later := false
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "## ") {
			later = strings.HasPrefix(line, "## Left to")
		}
		if m := ruleLine.FindStringSubmatch(line); m != nil {
			rules = append(rules, rule{m[1], m[2], later})
		}
	}
	return rules, nil
}

// TestRules: every rule has a case, pending or not, and every case names rules that exist. -v prints the table.
func TestRules(t *testing.T) {
	cases, err := loadCases()
	if err != nil {
		t.Fatal(err)
	}
	rules, err := loadRules()
	if err != nil {
		t.Fatal(err)
	}
	of := map[string][]string{}
	for _, r := range rules {
		if _, twice := of[r.id]; twice {
			t.Errorf("RULES.md has %s twice", r.id)
		}
		of[r.id] = nil
	}
	for _, c := range cases {
		for _, id := range c.rules {
			if _, ok := of[id]; !ok {
				t.Errorf("%s names the rule %s, which RULES.md does not have", c.name, id)
			}
			name := c.name
			if c.pending != "" {
				name += " (pending)"
			}
			of[id] = append(of[id], name)
		}
	}
	for _, r := range rules {
		switch {
		case r.later:
			t.Logf("%-5s left to part two: %s", r.id, r.text)
		case len(of[r.id]) == 0:
			t.Errorf("%s has no case: %s", r.id, r.text)
		default:
			t.Logf("%-5s %s\n\t%s", r.id, r.text, strings.Join(of[r.id], ", "))
		}
	}
}
