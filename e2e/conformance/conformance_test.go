package conformance

import (
	"strings"
	"testing"
)

// TestCases runs every case. -run TestCases/AREA/NAME picks one.
func TestCases(t *testing.T) {
	if noSystem != nil {
		t.Skip(noSystem)
	}
	cases, err := loadCases()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o, err := observe(t, c)
			if err != nil {
				broken.Store(true)
				t.Fatal(err)
			}
			differences := judge(c.want, o)
			switch {
			case c.pending == "" && len(differences) > 0:
				t.Errorf("%s (%s)\n%s", c.name, strings.Join(append(c.rules, c.docs...), "; "), strings.Join(differences, "\n"))
			case c.pending != "" && len(differences) == 0:
				t.Errorf("%s passes: take its `pending:` out", c.name)
			case c.pending != "":
				t.Skipf("pending, %s:\n%s", c.pending, strings.Join(differences, "\n"))
			}
		})
	}
}

// TestCasesAreMany and each says something: the promise is at least 120.
func TestCasesAreMany(t *testing.T) {
	cases, err := loadCases()
	if err != nil {
		t.Fatal(err)
	}
	pending := 0
	for _, c := range cases {
		if c.pending != "" {
			pending++
			t.Logf("pending: %s: %s", c.name, c.pending)
		}
	}
	if len(cases)-pending < 120 {
		t.Errorf("%d cases, %d of them pending; at least 120 must run", len(cases), pending)
	}
}
