package conformance

import (
	"errors"
	"fmt"
	"slices"

	"go.yaml.in/yaml/v3"
)

// want is all that must come of a case. What it leaves out must not happen: a job, an output, a line, a finding.
type want struct {
	// How it is run.
	Event string `yaml:"event"`
	Git   bool   `yaml:"git"`
	// Secrets and Vars of the case's project, which it then has for itself.
	Secrets map[string]string `yaml:"secrets"`
	Vars    map[string]string `yaml:"vars"`
	Cancel  *moment           `yaml:"cancel"`
	// Series are several runs instead of one, each started when the one before is so far.
	Series []wantRun `yaml:"series"`

	// Refused lists the findings of a file that must not run; all else is then absent.
	Refused []string `yaml:"refused"`
	// Invalid is a part of the message with which the coordinator refuses the run.
	Invalid string `yaml:"invalid"`
	// Warnings lists the findings of a file that runs; those of lints only where the case is about them.
	Warnings []string `yaml:"warnings"`
	// Run is how the run ends: succeeded (the default), failed, cancelled, or skipped where no job ran.
	Run string `yaml:"run"`
	// Name of the run; not compared if absent.
	Name *string            `yaml:"name"`
	Jobs map[string]wantJob `yaml:"jobs"`
	// Tests are the sums over all reports of tests; not compared if absent.
	Tests *wantTests `yaml:"tests"`
	// MostAtOnce is how many jobs may have run at the same time; 0 is any number.
	MostAtOnce int `yaml:"most-at-once"`
}

// wantTests are counts of test cases.
type wantTests struct {
	Tests    uint32 `yaml:"tests"`
	Failures uint32 `yaml:"failures"`
}

// wantRun is one run of a series.
type wantRun struct {
	// File that is run; the case's first file if absent.
	File string `yaml:"file"`
	// Until says when the next run is started.
	Until moment `yaml:"until"`
	// Cancel it when all are started.
	Cancel bool `yaml:"cancel"`

	Run  string             `yaml:"run"`
	Name *string            `yaml:"name"`
	Jobs map[string]wantJob `yaml:"jobs"`
	// Failure is a part of why it failed or was cancelled.
	Failure string `yaml:"failure"`
}

// moment is when a job's log shows a text, or a job or (without Job) the run is in a state.
type moment struct {
	Job   string `yaml:"job"`
	Log   string `yaml:"log"`
	State string `yaml:"state"`
}

// wantJob is how a job ends, by instance id. A text alone is the log of a job that succeeds.
type wantJob struct {
	// Result is success (the default), failure, cancelled, skipped or timed-out.
	Result string `yaml:"result"`
	// Failure is CODE or CODE: PART OF THE MESSAGE; a job that does not succeed has one or is skipped.
	Failure string `yaml:"failure"`
	// Reason is a part of why the job was skipped or waits; not compared if absent.
	Reason string `yaml:"reason"`
	// Name is the display name; not compared if absent.
	Name    *string           `yaml:"name"`
	Outputs map[string]string `yaml:"outputs"`
	// Log is exactly what the steps print. Instead of it, Has lists whole lines that must be there, Lacks texts that must not.
	Log   *string  `yaml:"log"`
	Has   []string `yaml:"has"`
	Lacks []string `yaml:"lacks"`
	// Steps are the conclusions of all steps in order, OUTCOME/CONCLUSION where the two differ; not compared if absent.
	Steps []string `yaml:"steps"`
	// StepNames are the display names of all steps; not compared if absent.
	StepNames []string `yaml:"step-names"`
	// Annotations are all of the job's.
	Annotations []string `yaml:"annotations"`
	// Complete and Setup are lines that must be in the logs of "Complete job" and "Set up job".
	Complete []string `yaml:"complete"`
	Setup    []string `yaml:"setup"`
	// MostSeconds bounds how long the job may have run; 0 is any time.
	MostSeconds int `yaml:"most-seconds"`
}

// UnmarshalYAML takes a text for the log of a job that succeeds.
func (j *wantJob) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!str" {
		j.Log = &n.Value
		return nil
	}
	if n.Kind == yaml.MappingNode {
		for i := 0; i < len(n.Content); i += 2 {
			if !slices.Contains(jobKeys, n.Content[i].Value) {
				return fmt.Errorf("line %d: a job has no key %q", n.Content[i].Line, n.Content[i].Value)
			}
		}
	}
	type plain wantJob
	return n.Decode((*plain)(j))
}

// jobKeys: the decoder's strictness does not reach into UnmarshalYAML.
var jobKeys = []string{"result", "failure", "reason", "name", "outputs", "log", "has", "lacks", "steps", "step-names", "annotations", "complete", "setup", "most-seconds"}

var (
	runWords = []string{"", "succeeded", "failed", "cancelled", "skipped"}
	jobWords = []string{"", "success", "failure", "cancelled", "skipped", "timed-out"}
)

// check finds what would make the expectation weaker than its writer thinks.
func (w *want) check() error {
	refused := len(w.Refused) > 0
	switch {
	case refused && (len(w.Jobs) > 0 || w.Run != "" || len(w.Warnings) > 0 || w.Invalid != ""):
		return errors.New("want: a file that is refused has no run and no jobs; list warnings under `refused` too")
	case w.Invalid != "" && (len(w.Jobs) > 0 || w.Run != ""):
		return errors.New("want: a run that is invalid has no jobs")
	case !refused && w.Invalid == "" && len(w.Jobs)+len(w.Series) == 0:
		return errors.New("want: `jobs` must list all jobs")
	case len(w.Series) > 0 && (refused || len(w.Jobs) > 0 || w.Run != "" || w.Cancel != nil):
		return errors.New("want: a series has its expectations in each of its runs")
	}
	for i, r := range w.Series {
		if err := checkRun(r.Run, r.Jobs); err != nil {
			return fmt.Errorf("want: run %d of the series: %w", i+1, err)
		}
		if len(r.Jobs) == 0 || r.Until == (moment{}) && i < len(w.Series)-1 {
			return fmt.Errorf("want: run %d of the series needs `jobs`, and `until` if others follow", i+1)
		}
	}
	if err := checkRun(w.Run, w.Jobs); err != nil {
		return fmt.Errorf("want: %w", err)
	}
	return nil
}

func checkRun(run string, jobs map[string]wantJob) error {
	if !slices.Contains(runWords, run) {
		return fmt.Errorf("run: %q is none of %q", run, runWords)
	}
	for id, j := range jobs {
		switch {
		case !slices.Contains(jobWords, j.Result):
			return fmt.Errorf("job %s: result: %q is none of %q", id, j.Result, jobWords)
		case j.Log != nil && len(j.Has)+len(j.Lacks) > 0:
			return fmt.Errorf("job %s: either `log`, or `has` and `lacks`", id)
		case len(j.Has) == 0 && len(j.Lacks) > 0:
			return fmt.Errorf("job %s: `lacks` alone holds for a job that prints nothing; add `has`", id)
		case j.Failure == "" && (j.Result == "failure" || j.Result == "timed-out"):
			return fmt.Errorf("job %s: say with `failure` why it fails", id)
		}
	}
	return nil
}
