package conformance

import (
	"strings"
	"testing"

	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

const sample = `rule: E1a
-- ci.yml --
on: push
-- want --
warnings: ["3:4 some-code: part"]
jobs:
  a:
    log: |
      one
    outputs: {x: "1"}
    steps: [success, failure/success]
    annotations: ["warning f:1:2 (T): m"]
  b: {result: failure, failure: "step-failed: code 3"}
`

// asWanted is what the sample wants.
func asWanted() observed {
	step := func(n uint32, outcome, conclusion corev1.Result) *corev1.StepStatus {
		return &corev1.StepStatus{Number: n, Outcome: outcome, Conclusion: conclusion}
	}
	const good, bad = corev1.Result_RESULT_SUCCESS, corev1.Result_RESULT_FAILURE
	return observed{
		findings: []finding{{Line: 3, Column: 4, Severity: "warning", Code: "some-code", Message: "a part of it"}},
		run: &apiv1.Run{State: corev1.RunState_RUN_STATE_SUCCEEDED, Jobs: []*apiv1.Job{
			{Id: "a", State: corev1.JobState_JOB_STATE_SUCCEEDED, Outputs: map[string]string{"x": "1"},
				Steps:       []*corev1.StepStatus{{Number: 0, Name: "Set up job"}, step(1, good, good), step(2, bad, good), {Number: 3, Name: "Complete job"}},
				Annotations: []*corev1.Annotation{{Level: "warning", File: "f", Line: 1, Column: 2, Title: "T", Message: "m"}}},
			{Id: "b", State: corev1.JobState_JOB_STATE_FAILED, Failure: &corev1.Failure{Code: "step-failed", Message: "exit code 3."}},
		}},
		logs: map[string]map[uint32]string{"a": {0: "of the agent", 1: "one\n"}},
	}
}

// TestJudge: what is as wanted is no difference, and everything else is one.
func TestJudge(t *testing.T) {
	c, err := parseCase([]byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	if found := judge(c.want, asWanted()); len(found) > 0 {
		t.Fatalf("differences where there are none: %q", found)
	}
	for want, change := range map[string]func(o *observed){
		"job a: failure, want success":     func(o *observed) { o.run.Jobs[0].State = corev1.JobState_JOB_STATE_FAILED },
		"the run is failed":                func(o *observed) { o.run.State = corev1.RunState_RUN_STATE_FAILED },
		"exit code 1, want 0":              func(o *observed) { o.code = 1 },
		"unexpected job c":                 func(o *observed) { o.run.Jobs = append(o.run.Jobs, &apiv1.Job{Id: "c"}) },
		"no job b":                         func(o *observed) { o.run.Jobs = o.run.Jobs[:1] },
		"its outputs are":                  func(o *observed) { o.run.Jobs[1].Outputs = map[string]string{"y": ""} },
		"its annotations are":              func(o *observed) { o.run.Jobs[0].Annotations = nil },
		"its steps are":                    func(o *observed) { o.run.Jobs[0].Steps[2].Outcome = corev1.Result_RESULT_SUCCESS },
		"job a: it printed":                func(o *observed) { o.logs["a"][2] = "more" },
		"job b: it printed":                func(o *observed) { o.logs["b"] = map[uint32]string{1: "x"}; o.run.Jobs[1].Steps = o.run.Jobs[0].Steps },
		`its failure is "lost"`:            func(o *observed) { o.run.Jobs[1].Failure.Code = "lost" },
		`its failure is "step-failed": "x`: func(o *observed) { o.run.Jobs[1].Failure.Message = "x" },
		"no finding 3:4 some-code":         func(o *observed) { o.findings = nil },
		"unexpected warning at 3:5":        func(o *observed) { o.findings[0].Column = 5 },
		"unexpected warning at 1:1": func(o *observed) {
			o.findings = append(o.findings, finding{Line: 1, Column: 1, Severity: "warning", Code: "other"})
		},
		"the file is refused": func(o *observed) { o.findings[0].Severity = "error" },
		"there was no run":    func(o *observed) { o.run = nil },
	} {
		o := asWanted()
		change(&o)
		if found := strings.Join(judge(c.want, o), "\n"); !strings.Contains(found, want) {
			t.Errorf("%q is not among %q", want, found)
		}
	}
}

// TestWeakCases are refused: they would pass whatever happens.
func TestWeakCases(t *testing.T) {
	for text, want := range map[string]string{
		"-- ci.yml --\n-- want --\njobs: {a: x}":                                    "neither",
		"rule: E1a\n-- ci.yml --\n":                                                 "-- want --",
		"rule: E1a\n-- ci.yml --\n-- want --\nrun: failed":                          "must list all jobs",
		"rule: E1a\n-- ci.yml --\n-- want --\njob: {}":                              "field job not found",
		"rule: E1a\n-- ci.yml --\n-- want --\njobs: {a: {lg: x}}":                   `no key "lg"`,
		"rule: E1a\n-- ci.yml --\n-- want --\njobs: {a: {result: failure}}":         "why it fails",
		"rule: E1a\n-- ci.yml --\n-- want --\njobs: {a: {lacks: [x]}}":              "prints nothing",
		"rule: E1a\n-- ci.yml --\n-- want --\njobs: {a: {result: good}}":            "is none of",
		"rule: E1a\n-- ci.yml --\n-- want --\nrefused: [\"1:1 x\"]\njobs: {a: x}":   "no jobs",
		"rule: E1a\n-- ci.yml --\n-- want --\nseries: [{jobs: {a: x}}, {jobs: {}}]": "needs `jobs`",
	} {
		if _, err := parseCase([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}
