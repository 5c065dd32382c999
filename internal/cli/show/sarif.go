package show

import (
	"io"
	"net/url"
	"path/filepath"

	"github.com/slipway-ci/slipway/internal/cli/launch"
	"github.com/slipway-ci/slipway/internal/version"
	"github.com/slipway-ci/slipway/pipeline/diag"
)

// The parts of SARIF 2.1.0 (OASIS, "Static Analysis Results Interchange Format") that a validation needs.
type (
	sarifLog struct {
		Schema  string     `json:"$schema"`
		Version string     `json:"version"`
		Runs    []sarifRun `json:"runs"`
	}
	sarifRun struct {
		Tool       sarifTool       `json:"tool"`
		ColumnKind string          `json:"columnKind"`
		Artifacts  []sarifArtifact `json:"artifacts"`
		Results    []sarifResult   `json:"results"`
	}
	sarifTool struct {
		Driver sarifDriver `json:"driver"`
	}
	sarifDriver struct {
		Name    string      `json:"name"`
		Version string      `json:"version"`
		Rules   []sarifRule `json:"rules"`
	}
	sarifRule struct {
		ID string `json:"id"`
	}
	sarifArtifact struct {
		Location sarifURI `json:"location"`
	}
	sarifURI struct {
		URI string `json:"uri"`
	}
	sarifMessage struct {
		Text string `json:"text"`
	}
	sarifResult struct {
		RuleID    string          `json:"ruleId"`
		RuleIndex int             `json:"ruleIndex"`
		Level     string          `json:"level"`
		Message   sarifMessage    `json:"message"`
		Locations []sarifLocation `json:"locations"`
	}
	sarifLocation struct {
		Physical sarifPhysical `json:"physicalLocation"`
	}
	sarifPhysical struct {
		Artifact sarifIndexed `json:"artifactLocation"`
		Region   *sarifRegion `json:"region,omitempty"`
	}
	sarifIndexed struct {
		URI   string `json:"uri"`
		Index int    `json:"index"`
	}
	sarifRegion struct {
		StartLine   int `json:"startLine"`
		StartColumn int `json:"startColumn,omitempty"`
	}
)

const sarifSchema = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json"

// ValidationSARIF writes what Validate found as a SARIF 2.1.0 log. Files without findings are in it as artifacts.
func ValidationSARIF(w io.Writer, v launch.Validation) error {
	run := sarifRun{
		Tool:       sarifTool{sarifDriver{Name: "slipway", Version: version.String(), Rules: []sarifRule{}}},
		ColumnKind: "unicodeCodePoints", Artifacts: []sarifArtifact{}, Results: []sarifResult{},
	}
	rules := map[string]int{}
	add := func(file int, uri string, d diag.Diagnostic) {
		rule, ok := rules[d.Code]
		if !ok {
			rule = len(rules)
			rules[d.Code] = rule
			run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{d.Code})
		}
		text := d.Message
		if d.Hint != "" {
			text += " (" + d.Hint + ")"
		}
		at := sarifPhysical{Artifact: sarifIndexed{uri, file}}
		if d.Line > 0 {
			at.Region = &sarifRegion{d.Line, d.Column}
		}
		run.Results = append(run.Results, sarifResult{
			RuleID: d.Code, RuleIndex: rule, Level: d.Severity.String(), Message: sarifMessage{text}, Locations: []sarifLocation{{at}},
		})
	}
	for i, c := range v {
		uri := fileURI(c.File)
		run.Artifacts = append(run.Artifacts, sarifArtifact{sarifURI{uri}})
		if c.Unreadable != nil {
			add(i, uri, diag.Diagnostic{Severity: diag.Error, Code: "unreadable", Message: c.Unreadable.Error()})
		}
		for _, d := range c.Findings {
			add(i, uri, d)
		}
	}
	return Value(w, sarifLog{Schema: sarifSchema, Version: "2.1.0", Runs: []sarifRun{run}})
}

// fileURI names a file as SARIF wants it: relative to the project, or as a file URI.
func fileURI(name string) string {
	u := url.URL{Path: filepath.ToSlash(name)}
	if filepath.IsAbs(name) {
		u.Scheme = "file"
	}
	return u.String()
}
