package launch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/slipway-ci/slipway/internal/cli/exit"
	"github.com/slipway-ci/slipway/internal/worktree"
	"github.com/slipway-ci/slipway/pipeline/diag"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// Compile is pipeline/compile's function.
type Compile func(path string, src []byte) (*planv1.Plan, diag.List)

// Event is what would start the workflows.
type Event struct {
	Name    string
	Ref     string
	Payload string
}

// Starts says whether an event would start a workflow that compiled; pipeline/trigger's function.
type Starts func(w Workflow, plan *planv1.Plan, e Event) (bool, error)

// Request is what the user asked for.
type Request struct {
	// Dir is where the user stands.
	Dir string
	// File is one workflow file; "" is those that the event would start.
	File string
	// Ref is a commit, branch or tag to run instead of the working tree.
	Ref string
	// Event and PayloadFile say what github.event is; PayloadFile "" is {}.
	Event, PayloadFile string
	Project            string
}

// Prepared is what can be submitted.
type Prepared struct {
	Tree      *worktree.Tree
	Workflows []Workflow
	Plans     []*planv1.Plan
	// NeedsTree: some step checks the tree out, so it has to be uploaded.
	NeedsTree bool
	Warnings  diag.List
	Event     Event
	Project   string
}

// Findings is the error of workflows that do not compile.
type Findings struct{ List diag.List }

// Error implements error.
func (f *Findings) Error() string {
	n := 0
	for _, d := range f.List {
		if d.Severity == diag.Error {
			n++
		}
	}
	if n == 1 {
		return "1 error, nothing was started"
	}
	return fmt.Sprintf("%d errors, nothing was started", n)
}

// Prepare reads and compiles. A *Findings (exit code 2) says that a workflow has errors.
func Prepare(ctx context.Context, r Request, compile Compile, starts Starts) (*Prepared, error) {
	payload, err := readPayload(r.PayloadFile)
	if err != nil {
		return nil, err
	}
	p := &Prepared{Project: r.Project}
	if r.File != "" && r.Ref == "" {
		// Before git is asked: a wrong file name is the most likely mistake.
		if _, err := ReadFile(r.File); err != nil {
			return nil, err
		}
	}
	if p.Tree, err = openTree(ctx, r); err != nil {
		return nil, err
	}
	p.Event = Event{Name: r.Event, Ref: p.Tree.Ref, Payload: payload}
	candidates, err := candidates(ctx, r, p.Tree)
	if err != nil {
		return nil, err
	}
	if err := p.compile(candidates, r.File == "", compile, starts); err != nil {
		return nil, err
	}
	if len(p.Workflows) == 0 {
		return nil, exit.Invalidf("no workflow of %s starts on %q for %s; name a file to run it whatever its `on:` says", p.Tree.Root, r.Event, p.Tree.Ref)
	}
	return p, nil
}

func (p *Prepared) compile(all []Workflow, filter bool, compile Compile, starts Starts) error {
	var found diag.List
	for _, w := range all {
		plan, list := compile(w.Path, w.Source)
		found = append(found, list...)
		if list.HasErrors() || plan == nil {
			continue
		}
		if filter {
			ok, err := starts(w, plan, p.Event)
			if err != nil {
				return exit.With(exit.Invalid, fmt.Errorf("%s: %w", w.Path, err))
			}
			if !ok {
				continue
			}
		}
		p.Workflows, p.Plans = append(p.Workflows, w), append(p.Plans, plan)
		p.NeedsTree = p.NeedsTree || ChecksOut(plan)
	}
	if found.HasErrors() {
		return exit.With(exit.Invalid, &Findings{found})
	}
	p.Warnings = found
	return nil
}

// ChecksOut says whether a step of the plan needs the source tree.
func ChecksOut(plan *planv1.Plan) bool {
	for _, j := range plan.GetJobs() {
		for _, s := range j.GetSteps() {
			if s.GetNative().GetName() == "checkout" {
				return true
			}
		}
	}
	return false
}

func openTree(ctx context.Context, r Request) (*worktree.Tree, error) {
	var root string
	var err error
	if r.File != "" {
		root, err = rootOf(ctx, r.Dir, r.File)
	} else {
		root, err = findRoot(ctx, r.Dir)
	}
	if err != nil {
		return nil, err
	}
	if r.Ref == "" {
		return worktree.Open(ctx, root)
	}
	t, err := worktree.OpenRef(ctx, root, r.Ref)
	if errors.Is(err, worktree.ErrUnknownRef) || errors.Is(err, fs.ErrNotExist) {
		return nil, exit.With(exit.Invalid, err)
	}
	return t, err
}

func candidates(ctx context.Context, r Request, t *worktree.Tree) ([]Workflow, error) {
	if r.File == "" {
		return workflowsOf(ctx, t)
	}
	rel, inside := t.Rel(r.File)
	if t.IsCommit() {
		if !inside {
			return nil, exit.Invalidf("%s lies outside %s, so %s does not hold it", r.File, t.Root, r.Ref)
		}
		src, err := t.ReadFile(ctx, rel, MaxWorkflow)
		if err != nil {
			return nil, exit.Invalidf("%s does not hold %s: %v", r.Ref, rel, err)
		}
		return []Workflow{{Path: rel, Shown: r.File, Source: src}}, checkText(r.File, src)
	}
	src, err := ReadFile(r.File)
	if err != nil {
		return nil, err
	}
	if !inside {
		rel = filepath.Base(r.File)
	}
	return []Workflow{{Path: rel, Shown: r.File, Source: src}}, nil
}

func readPayload(name string) (string, error) {
	if name == "" {
		return "", nil
	}
	src, err := ReadFile(name)
	if err != nil {
		return "", err
	}
	var object map[string]any
	if err := json.Unmarshal(src, &object); err != nil {
		return "", exit.Invalidf("%s is not a JSON object: %v", name, err)
	}
	return string(src), nil
}

// API is what Submit needs of sdk/client.
type API interface {
	Upload(ctx context.Context, r io.ReadSeeker) (digest string, size int64, err error)
	Plan(ctx context.Context, r *apiv1.PlanRunRequest) (*apiv1.PlanRunResponse, error)
	Submit(ctx context.Context, r *apiv1.SubmitRunRequest) (*apiv1.SubmitRunResponse, error)
	Cancel(ctx context.Context, runID, reason string) error
}

// Submitted is a run that was accepted.
type Submitted struct {
	ID       string
	Number   uint64
	Path     string
	Warnings []*apiv1.Diagnostic
}

// Submit uploads the tree if it is needed and starts the runs: all of them, or none that goes on. Cancelling ctx stops
// it before the first run is accepted.
func (p *Prepared) Submit(ctx context.Context, api API) ([]Submitted, error) {
	source, err := p.Source(ctx, api)
	if err != nil {
		return nil, err
	}
	if len(p.Workflows) > 1 {
		// So that an image that does not resolve in the second keeps the first from starting.
		for _, w := range p.Workflows {
			if _, err := api.Plan(ctx, p.PlanRequest(w, source)); err != nil {
				return nil, err
			}
		}
	}
	var out []Submitted
	for _, w := range p.Workflows {
		r, err := api.Submit(ctx, &apiv1.SubmitRunRequest{Project: p.Project, Path: w.Path, Workflow: w.Source, Source: source,
			Event: p.Event.Name, EventPayload: p.Event.Payload})
		if err != nil {
			return nil, errors.Join(append([]error{err}, cancelAll(context.WithoutCancel(ctx), api, out)...)...)
		}
		out = append(out, Submitted{r.GetRunId(), r.GetRunNumber(), w.Path, r.GetDiagnostics()})
	}
	return out, nil
}

func cancelAll(ctx context.Context, api API, runs []Submitted) []error {
	var errs []error
	for _, s := range runs {
		if err := api.Cancel(ctx, s.ID, "a workflow of the same submission was refused"); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// PlanRequest asks what a workflow would become.
func (p *Prepared) PlanRequest(w Workflow, source *apiv1.Source) *apiv1.PlanRunRequest {
	return &apiv1.PlanRunRequest{Project: p.Project, Path: w.Path, Workflow: w.Source, Source: source, Event: p.Event.Name, EventPayload: p.Event.Payload}
}

// Source describes the tree, and uploads it if a step needs it.
func (p *Prepared) Source(ctx context.Context, api API) (*apiv1.Source, error) {
	s := &apiv1.Source{Repository: p.Tree.Repository, Sha: p.Tree.SHA, Ref: p.Tree.Ref, Dirty: p.Tree.Dirty}
	if !p.NeedsTree {
		return s, nil
	}
	f, err := os.CreateTemp("", "slipway-tree-*.tar.zst")
	if err != nil {
		return nil, exit.With(exit.System, err)
	}
	defer f.Close()
	defer os.Remove(f.Name())
	if err := p.Tree.Pack(ctx, f); err != nil {
		if errors.Is(err, worktree.ErrTooWide) {
			return nil, exit.With(exit.Invalid, err)
		}
		return nil, err
	}
	s.Tree, _, err = api.Upload(ctx, f)
	return s, err
}
