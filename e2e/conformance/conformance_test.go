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
	if *mutate {
		t.Skip("-mutations is given")
	}
	cases, err := loadCases()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			found, err := differences(t, c)
			switch {
			case err != nil && c.pending == "":
				broken.Store(true)
				t.Fatalf("%v\n%s", err, strings.Join(found, "\n"))
			case c.pending != "" && (err != nil || len(found) > 0):
				t.Skipf("pending, %s: %v\n%s", c.pending, err, strings.Join(found, "\n"))
			case c.pending != "":
				t.Errorf("%s passes: take its `pending:` out", c.name)
			case len(found) > 0:
				t.Errorf("%s (%s)\n%s", c.name, strings.Join(append(c.rules, c.docs...), "; "), strings.Join(found, "\n"))
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
