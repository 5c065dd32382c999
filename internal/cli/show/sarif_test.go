package show

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/slipway-ci/slipway/internal/cli/launch"
	"github.com/slipway-ci/slipway/pipeline/diag"
)

// TestValidationSARIF: what SARIF 2.1.0 asks of a log, and all that was found is in it.
func TestValidationSARIF(t *testing.T) {
	v := launch.Validation{
		{File: "good.yml"},
		{File: "/abs/a b.yml", Findings: diag.List{
			{Path: "/abs/a b.yml", Line: 3, Column: 7, Code: "unknown-key", Message: "unknown key `é` <x>", Hint: "did you mean `e`?"},
			{Path: "/abs/a b.yml", Severity: diag.Warning, Code: "w", Message: "no place"},
			{Path: "/abs/a b.yml", Line: 4, Column: 1, Code: "unknown-key", Message: "again"},
		}},
		{File: "gone.yml", Unreadable: errors.New("gone.yml: there is no such file")},
	}
	var b strings.Builder
	if err := ValidationSARIF(&b, v); err != nil {
		t.Fatal(err)
	}
	var log sarifLog
	decoder := json.NewDecoder(strings.NewReader(b.String()))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&log); err != nil || log.Version != "2.1.0" || len(log.Runs) != 1 || !strings.HasSuffix(log.Schema, "2.1.0.json") {
		t.Fatal(err, b.String())
	}
	run := log.Runs[0]
	if run.Tool.Driver.Name == "" || run.ColumnKind != "unicodeCodePoints" || len(run.Artifacts) != 3 || len(run.Tool.Driver.Rules) != 3 {
		t.Errorf("%+v", run)
	}
	if len(run.Results) != 4 {
		t.Fatalf("%d results, want 4", len(run.Results))
	}
	for _, r := range run.Results {
		at := r.Locations[0].Physical
		if run.Tool.Driver.Rules[r.RuleIndex].ID != r.RuleID || run.Artifacts[at.Artifact.Index].Location.URI != at.Artifact.URI {
			t.Errorf("an index leads elsewhere: %+v", r)
		}
		if r.Message.Text == "" || r.Level != "error" && r.Level != "warning" || at.Region != nil && at.Region.StartLine < 1 {
			t.Errorf("%+v", r)
		}
	}
	first := run.Results[0]
	if first.Message.Text != "unknown key `é` <x> (did you mean `e`?)" || first.Locations[0].Physical.Artifact.URI != "file:///abs/a%20b.yml" ||
		*first.Locations[0].Physical.Region != (sarifRegion{3, 7}) || run.Results[1].Locations[0].Physical.Region != nil || run.Results[1].Level != "warning" {
		t.Errorf("%+v", run.Results)
	}
}

// TestEmptyLogsHaveLists: a log without findings has empty lists, not null, which is not valid.
func TestEmptyLogsHaveLists(t *testing.T) {
	var b strings.Builder
	if err := ValidationSARIF(&b, nil); err != nil || strings.Contains(b.String(), "null") {
		t.Error(err, b.String())
	}
}
