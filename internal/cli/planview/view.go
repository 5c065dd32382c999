// Package planview shows what a workflow compiles into: its graph as a text tree, as JSON and as DOT.
package planview

import (
	"fmt"
	"strings"

	"github.com/slipway-ci/slipway/pipeline/diag"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// Input is what is known of one workflow.
type Input struct {
	Plan     *planv1.Plan
	Findings diag.List
	Event    Event
	// Starts says whether the event would start the workflow, and if not Reason why.
	Starts bool
	Reason string
	// Resolved: the plan's images are by digest; Unresolved says why they are not.
	Resolved   bool
	Unresolved string
	// Pools are what labels of `runs-on` mean, where the coordinator has said so.
	Pools map[string]string
}

// Workflow is one workflow as it is shown; its JSON is documented in docs/language.md and only grows.
type Workflow struct {
	Path   string   `json:"path"`
	Name   string   `json:"name"`
	On     []string `json:"on"`
	Event  string   `json:"event"`
	Ref    string   `json:"ref,omitempty"`
	Starts bool     `json:"starts"`
	// Reason why the event does not start it.
	Reason string `json:"reason,omitempty"`
	// Runnable: nothing in it is unsupported.
	Runnable bool `json:"runnable"`
	// Resolved: images are by digest; Unresolved says why they are not.
	Resolved    bool   `json:"resolved"`
	Unresolved  string `json:"unresolved,omitempty"`
	Concurrency string `json:"concurrency,omitempty"`
	// Images are all that the coordinator resolved: name as written → reference by digest.
	Images   map[string]string `json:"images"`
	Jobs     []*Job            `json:"jobs"`
	Aliases  []Alias           `json:"aliases"`
	Findings []Finding         `json:"findings"`
}

// Job is a node of the graph.
type Job struct {
	ID       string   `json:"id"`
	Name     string   `json:"name,omitempty"`
	Line     uint32   `json:"line"`
	Needs    []string `json:"needs"`
	If       string   `json:"if,omitempty"`
	Skipped  string   `json:"skipped,omitempty"`
	RunsOn   []string `json:"runs_on"`
	Pool     []string `json:"pool"`
	Image    *Image   `json:"image,omitempty"`
	Services []Image  `json:"services"`
	Calls    string   `json:"calls,omitempty"`
	// Jobs are those of the workflow that the job calls, of one leg if it has several; their ids begin with the job's.
	Jobs []*Job `json:"jobs,omitempty"`
	// NotShown is why a call's jobs are not.
	NotShown    string   `json:"not_shown,omitempty"`
	Matrix      *Matrix  `json:"matrix,omitempty"`
	Concurrency string   `json:"concurrency,omitempty"`
	Steps       []*Step  `json:"steps"`
	Unsupported []string `json:"unsupported"`
}

// Image is a container image that a job uses.
type Image struct {
	// Service is its name, empty for the job's own.
	Service string `json:"service,omitempty"`
	Name    string `json:"name"`
	// Reference by digest, empty while it is not resolved.
	Reference string `json:"reference,omitempty"`
}

// Matrix is what multiplies a job.
type Matrix struct {
	// Dynamic is the expression of a matrix that is known at run time only.
	Dynamic string   `json:"dynamic,omitempty"`
	Legs    []string `json:"legs"`
	// MaxParallel as written, empty without it.
	MaxParallel string `json:"max_parallel,omitempty"`
}

// Step is one step of a job.
type Step struct {
	Name string `json:"name,omitempty"`
	ID   string `json:"id,omitempty"`
	Line uint32 `json:"line"`
	If   string `json:"if,omitempty"`
	// Skipped says why the step would not run.
	Skipped string `json:"skipped,omitempty"`
	Run     string `json:"run,omitempty"`
	Uses    string `json:"uses,omitempty"`
	// Native is the step of Slipway's own that `uses` became.
	Native string `json:"native,omitempty"`
	// Action is what kind of action of the repository `uses` is: composite or node20, say; Steps are those of a composite one.
	Action string  `json:"action,omitempty"`
	Steps  []*Step `json:"steps,omitempty"`
	Image  string  `json:"image,omitempty"`
	// Unsupported says what keeps the step from running.
	Unsupported []string `json:"unsupported"`
}

// Alias is an action that a native step stands in for.
type Alias struct {
	Uses    string   `json:"uses"`
	Native  string   `json:"native"`
	Ignored []string `json:"ignored_inputs"`
}

// Finding is one finding of the compiler.
type Finding struct {
	// Path of the file if it is one that the workflow calls.
	Path     string `json:"path,omitempty"`
	Line     int    `json:"line,omitempty"`
	Column   int    `json:"column,omitempty"`
	Severity string `json:"severity"`
	Code     string `json:"code"`
	Message  string `json:"message"`
	Hint     string `json:"hint,omitempty"`
}

// New makes the view of a workflow.
func New(in Input) *Workflow {
	pl := in.Plan
	w := &Workflow{
		Path: pl.GetPath(), Name: pl.GetName(), On: emptyNotNil(pl.GetEvents()), Event: in.Event.Name, Ref: in.Event.Ref, Starts: in.Starts, Reason: in.Reason,
		Runnable: len(in.Findings.Unsupported()) == 0, Resolved: in.Resolved, Unresolved: in.Unresolved, Concurrency: text(pl.GetConcurrency().GetGroup()),
		Images: pl.GetImages(), Jobs: []*Job{}, Aliases: []Alias{}, Findings: []Finding{},
	}
	if w.Images == nil {
		w.Images = map[string]string{}
	}
	u := newUnfolder(in)
	w.Jobs = u.jobs(pl.GetPath(), pl.GetJobs(), nil)
	for _, a := range pl.GetAliases() {
		w.Aliases = append(w.Aliases, Alias{a.GetUses(), a.GetNative(), emptyNotNil(a.GetIgnoredInputs())})
	}
	for _, f := range in.Findings {
		shown := Finding{Line: f.Line, Column: f.Column, Severity: f.Word(), Code: f.Code, Message: f.Message, Hint: f.Hint}
		path := pl.GetPath()
		if f.Path != "" && f.Path != path {
			path, shown.Path = f.Path, f.Path
		}
		w.Findings = append(w.Findings, shown)
		if f.Unsupported() {
			for _, level := range u.levels[path] {
				level.place(f)
			}
		}
	}
	return w
}

func emptyNotNil(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func job(in Input, d *decider, j *planv1.Job) *Job {
	out := &Job{
		ID: j.GetId(), Line: j.GetPosition().GetLine(), Needs: emptyNotNil(j.GetNeeds()), If: condition(j.GetCondition()), RunsOn: texts(j.GetRunsOn()),
		Pool: texts(j.GetPool()), Calls: j.GetCall().GetPath(), Concurrency: text(j.GetConcurrency().GetGroup()), Services: []Image{}, Steps: []*Step{}, Unsupported: []string{},
	}
	if n := text(j.GetName()); n != j.GetId() {
		out.Name = n
	}
	if len(out.Pool) == 0 {
		for _, label := range out.RunsOn {
			if pool := in.Pools[label]; pool != "" {
				out.Pool = append(out.Pool, pool)
				break
			}
		}
	}
	out.Image = jobImage(in.Plan, j)
	for _, s := range j.GetServices() {
		i := image(in.Plan, text(s.GetContainer().GetImage()))
		i.Service = s.GetName()
		out.Services = append(out.Services, i)
	}
	if s := j.GetStrategy(); s.GetMatrix() != nil || len(s.GetLegs()) > 0 {
		out.Matrix = &Matrix{Dynamic: matrixText(s.GetMatrix()), Legs: legs(s), MaxParallel: text(s.GetMaxParallel())}
	}
	for _, s := range j.GetSteps() {
		out.Steps = append(out.Steps, step(d, s))
	}
	return out
}

func legs(s *planv1.Strategy) []string {
	out := []string{}
	for i, leg := range s.GetLegs() {
		if label := s.GetLegLabels(); i < len(label) && label[i] != "" {
			leg = label[i]
		}
		out = append(out, leg)
	}
	return out
}

// jobImage is that of the job's container, or of its label where the coordinator has said so.
func jobImage(pl *planv1.Plan, j *planv1.Job) *Image {
	if c := j.GetContainer(); c != nil {
		i := image(pl, text(c.GetImage()))
		return &i
	}
	for _, label := range texts(j.GetRunsOn()) {
		if ref := pl.GetImages()[label]; ref != "" {
			name, _, _ := strings.Cut(ref, "@")
			return &Image{Name: name, Reference: ref}
		}
	}
	return nil
}

func image(pl *planv1.Plan, name string) Image {
	return Image{Name: name, Reference: pl.GetImages()[name]}
}

func step(d *decider, s *planv1.Step) *Step {
	out := &Step{
		Name: text(s.GetName()), ID: s.GetId(), Line: s.GetPosition().GetLine(), If: condition(s.GetCondition()), Image: text(s.GetImage()), Unsupported: []string{},
		Skipped: d.skipped(s.GetCondition()),
	}
	switch {
	case s.GetRun() != nil:
		out.Run = text(s.GetRun().GetScript())
	case s.GetNative() != nil:
		out.Uses, out.Native = s.GetNative().GetUses(), s.GetNative().GetName()
	case s.GetAction() != nil:
		out.action(s.GetAction())
	case s.GetUnsupported() != nil:
		out.Uses = s.GetUnsupported().GetUses()
	}
	return out
}

// action shows what a step uses. What its steps' conditions come to depends on what it is given, so that none is decided.
func (s *Step) action(a *planv1.Action) {
	s.Uses, s.Action = a.GetUses(), "composite"
	if n := a.GetNode(); n != nil {
		s.Action = fmt.Sprintf("node%d", n.GetVersion())
	}
	for _, inner := range a.GetComposite().GetSteps() {
		out := step(nil, inner)
		if inner.GetUnsupported() != nil {
			out.Unsupported = append(out.Unsupported, "`"+out.Uses+"` is not supported yet")
		}
		s.Steps = append(s.Steps, out)
	}
}
