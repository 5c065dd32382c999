package launch

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/internal/cli/exit"
	"github.com/slipway-ci/slipway/internal/worktree"
	"github.com/slipway-ci/slipway/pipeline/compile"
	"github.com/slipway-ci/slipway/pipeline/diag"
	planv1 "github.com/slipway-ci/slipway/proto/gen/slipway/plan/v1"
)

// Reader returns a file of the workflow's source tree by its path inside it; fs.ErrNotExist if there is none.
type Reader func(path string) ([]byte, error)

// Compile is pipeline/compile's function; read finds the workflows that others call.
type Compile func(path string, src []byte, read Reader) (*planv1.Plan, diag.List)

// Event is what would start the workflows.
type Event struct {
	Name string
	// Ref is of the tree; BaseRef and Action are what the payload of a pull request says.
	Ref, BaseRef, Action string
	Payload              string
}

// Starts says whether an event would start a workflow, and if not why not; pipeline/trigger's function.
type Starts func(w Workflow, e Event) (starts bool, reason string)

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
	// Jobs to run, with what they need; empty is all.
	Jobs []string
	// Hold is how long the pods of jobs that fail are kept for debugging; 0 is not at all.
	Hold time.Duration
	// Draft: the plans are only shown, so what can't run yet may be in them; compile is then pipeline/compile's Draft.
	Draft bool
}

// From is the request as seen from a directory, which must be there: -C of make and git.
func (r Request) From(dir string) (Request, error) {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return r, exit.Invalidf("-C %s: there is no such directory", dir)
	case err != nil:
		return r, exit.With(exit.Invalid, fmt.Errorf("-C: %w", err))
	case !info.IsDir():
		return r, exit.Invalidf("-C %s: it is not a directory", dir)
	}
	r.Dir = dir
	for _, path := range []*string{&r.File, &r.PayloadFile} {
		if *path != "" && !filepath.IsAbs(*path) {
			*path = filepath.Join(dir, *path)
		}
	}
	return r, nil
}

// Prepared is what can be submitted.
type Prepared struct {
	Tree      *worktree.Tree
	Workflows []Workflow
	Plans     []*planv1.Plan
	// NeedsTree: some step checks the tree out, or a job calls a workflow of it, so it has to be uploaded.
	NeedsTree bool
	// Warnings of all workflows; of a draft also what is not supported. Found are the same, for each of Plans.
	Warnings diag.List
	Found    []diag.List
	Jobs     []string
	Hold     time.Duration
	Event    Event
	Project  string
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
func Prepare(ctx context.Context, r Request, compiler Compile, starts Starts) (*Prepared, error) {
	payload, err := readPayload(r.PayloadFile)
	if err != nil {
		return nil, err
	}
	p := &Prepared{Project: r.Project, Jobs: r.Jobs, Hold: r.Hold}
	if r.File != "" && r.Ref == "" {
		// Before git is asked: a wrong file name is the most likely mistake.
		if _, err := ReadFile(r.File); err != nil {
			return nil, err
		}
	}
	if p.Tree, err = openTree(ctx, r); err != nil {
		return nil, err
	}
	p.Event = eventOf(r.Event, p.Tree.Ref, payload)
	candidates, err := candidates(ctx, r, p.Tree)
	if err != nil {
		return nil, err
	}
	if r.File == "" {
		if candidates, err = p.started(candidates, starts); err != nil {
			return nil, err
		}
	}
	if err := p.compile(ctx, candidates, compiler, r.Draft); err != nil {
		return p, err
	}
	if r.File != "" && !r.Draft {
		if err := p.notCalled(ctx, compiler); err != nil {
			return p, err
		}
	}
	return p, p.limit()
}

// started keeps the workflows that the event would start. One that is not well formed is kept: compiling it says why.
func (p *Prepared) started(all []Workflow, starts Starts) ([]Workflow, error) {
	var kept []Workflow
	var reasons strings.Builder
	for _, w := range all {
		ok, reason := starts(w, p.Event)
		if ok {
			kept = append(kept, w)
			continue
		}
		fmt.Fprintf(&reasons, "\n  %s: %s", w.Path, reason)
	}
	if len(kept) == 0 {
		return nil, exit.Invalidf("no workflow of %s starts on %s of %s; name a file to run it whatever its `on:` says%s", p.Tree.Root, p.Event.Name,
			p.Tree.Ref, reasons.String())
	}
	return kept, nil
}

func (p *Prepared) compile(ctx context.Context, all []Workflow, compiler Compile, draft bool) error {
	var found diag.List
	refused := diag.List.HasErrors
	if draft {
		refused = diag.List.Invalid
	}
	read := func(path string) ([]byte, error) { return p.Tree.ReadFile(ctx, path, MaxWorkflow) }
	said := map[diag.Diagnostic]bool{} // of a workflow that several call
	for _, w := range all {
		plan, list := compiler(w.Path, w.Source, read)
		for _, d := range list {
			if !said[d] {
				said[d] = true
				found = append(found, d)
			}
		}
		if refused(list) || plan == nil {
			continue
		}
		p.Workflows, p.Plans, p.Found = append(p.Workflows, w), append(p.Plans, plan), append(p.Found, list)
	}
	if refused(found) {
		return exit.With(exit.Invalid, &Findings{found})
	}
	p.Warnings = found
	return nil
}

// limit keeps the jobs that were asked for, and the workflows that have any.
func (p *Prepared) limit() error {
	if len(p.Jobs) > 0 {
		all := *p
		p.Workflows, p.Plans, p.Found, p.Warnings = nil, nil, nil, nil
		var reasons []string
		for i, plan := range all.Plans {
			only, err := compile.Only(plan, p.Jobs)
			if err != nil {
				reasons = append(reasons, insideCall(plan, err))
				continue
			}
			p.Workflows, p.Plans, p.Found = append(p.Workflows, all.Workflows[i]), append(p.Plans, only), append(p.Found, all.Found[i])
			p.Warnings = append(p.Warnings, all.Found[i]...)
		}
		if len(p.Plans) == 0 {
			return exit.Invalidf("%s", strings.Join(reasons, "\n"))
		}
	}
	for _, plan := range p.Plans {
		p.NeedsTree = p.NeedsTree || len(plan.GetWorkflows()) > 0 || ChecksOut(plan)
	}
	return nil
}

// ChecksOut says whether a step of the plan needs the source tree: to lay it out, or because it is an action of it.
func ChecksOut(plan *planv1.Plan) bool {
	for _, j := range plan.GetJobs() {
		for _, s := range j.GetSteps() {
			if s.GetNative().GetName() == "checkout" || s.GetAction() != nil {
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

// eventOf reads from a payload what filters ask about.
func eventOf(name, ref, payload string) Event {
	e := Event{Name: name, Ref: ref, Payload: payload}
	var p struct {
		Action      string `json:"action"`
		PullRequest struct {
			Base struct {
				Ref string `json:"ref"`
			} `json:"base"`
		} `json:"pull_request"`
	}
	// It is a JSON object already; fields of another type than GitHub's simply say nothing.
	if payload != "" && json.Unmarshal([]byte(payload), &p) == nil {
		e.Action, e.BaseRef = p.Action, p.PullRequest.Base.Ref
	}
	return e
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
