package admin

import (
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/coordinator/backup"
)

// TestListsAreAlwaysThere: who reads the JSON need not tell a list from nothing.
func TestListsAreAlwaysThere(t *testing.T) {
	var b strings.Builder
	if err := Report(&b, backup.Report{}, true); err != nil || !strings.Contains(b.String(), `"findings": []`) || strings.Contains(b.String(), "null") {
		t.Errorf("%v:\n%s", err, b.String())
	}
}
