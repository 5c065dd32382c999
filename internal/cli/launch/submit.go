package launch

import (
	"context"
	"errors"
	"io"
	"os"

	"github.com/slipway-ci/slipway/internal/cli/exit"
	"github.com/slipway-ci/slipway/internal/worktree"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

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
	// URL is the address of its page; "" if the coordinator has no pages.
	URL string
}

// Submit uploads the tree if it is needed and starts the runs: all of them, or none that goes on. If ctx ends meanwhile,
// runs that were accepted already are cancelled.
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
	// From here on an answer is awaited in any case: a run whose id nobody knows can't be cancelled.
	sure := context.WithoutCancel(ctx)
	for _, w := range p.Workflows {
		r, err := api.Submit(sure, &apiv1.SubmitRunRequest{Project: p.Project, Path: w.Path, Workflow: w.Source, Source: source,
			Event: p.Event.Name, EventPayload: p.Event.Payload, Jobs: p.Jobs, HoldMs: p.Hold.Milliseconds()})
		if err == nil {
			out = append(out, Submitted{r.GetRunId(), r.GetRunNumber(), w.Path, r.GetDiagnostics(), r.GetUrl()})
			err = ctx.Err()
		}
		if err != nil {
			return nil, errors.Join(append([]error{err}, cancelAll(sure, api, out)...)...)
		}
	}
	return out, nil
}

func cancelAll(ctx context.Context, api API, runs []Submitted) []error {
	var errs []error
	for _, s := range runs {
		if err := api.Cancel(ctx, s.ID, "the submission was interrupted or refused"); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// PlanRequest asks what a workflow would become.
func (p *Prepared) PlanRequest(w Workflow, source *corev1.Source) *apiv1.PlanRunRequest {
	return &apiv1.PlanRunRequest{Project: p.Project, Path: w.Path, Workflow: w.Source, Source: source, Event: p.Event.Name, EventPayload: p.Event.Payload,
		Jobs: p.Jobs}
}

func (p *Prepared) describe() *corev1.Source {
	return &corev1.Source{Repository: p.Tree.Repository, Sha: p.Tree.SHA, Ref: p.Tree.Ref, Dirty: p.Tree.Dirty}
}

// Source describes the tree, and uploads it if a step needs it.
func (p *Prepared) Source(ctx context.Context, api API) (*corev1.Source, error) {
	s := p.describe()
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

// Interruptible calls submit with a context that the first interrupt ends. interrupted says that one was taken although
// submit succeeded: the caller owes it an answer.
func Interruptible(ctx context.Context, interrupts <-chan os.Signal, submit func(context.Context) ([]Submitted, error)) (runs []Submitted, interrupted bool,
	err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	watcher := make(chan struct{})
	go func() {
		defer close(watcher)
		select {
		case <-interrupts:
			cancel()
		case <-done:
		}
	}()
	runs, err = submit(ctx)
	close(done)
	<-watcher
	if err != nil && ctx.Err() != nil {
		return runs, true, &exit.Error{Code: exit.Cancelled, Err: errors.New("interrupted; no run was started, or it is cancelled")}
	}
	return runs, ctx.Err() != nil, err
}

// IDs are the runs' ids.
func IDs(runs []Submitted) []string {
	out := make([]string, 0, len(runs))
	for _, r := range runs {
		out = append(out, r.ID)
	}
	return out
}
