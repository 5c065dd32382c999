package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/slipway-ci/slipway/coordinator/blob"
	"github.com/slipway-ci/slipway/coordinator/engine"
	"github.com/slipway-ci/slipway/coordinator/lifecycle"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

const (
	// maxPlan bounds a plan, as the engine does.
	maxPlan = 64 << 20
	// logPause is how soon logs that are on their way are looked at again, heldPause a job whose pod is kept for somebody.
	logPause, heldPause = 10 * time.Second, time.Minute
	// lostPause is how soon a run is looked at again whose plan is gone.
	lostPause = time.Hour
)

// sealing is a run on its way into the chain.
type sealing struct {
	item   item
	run    *engine.EndedRun
	bundle *statev1.Bundle

	data []byte
	head *statev1.ChainHead
}

// ownError is of one run, its logs or its blobs: the others can be sealed. Errors of the store are not.
type ownError struct{ err error }

func (e *ownError) Error() string { return e.err.Error() }
func (e *ownError) Unwrap() error { return e.err }

// own marks an error as a run's own; nil stays nil.
func own(err error) error {
	if err == nil {
		return nil
	}
	return &ownError{err}
}

// prepareAll prepares a batch. later are those that can't be sealed yet.
func (a *Archiver) prepareAll(ctx context.Context, batch []item) (runs []*sealing, later []item, err error) {
	runs = make([]*sealing, 0, len(batch))
	for _, i := range batch {
		s, wait, err := a.prepare(ctx, i)
		var own *ownError
		switch {
		case errors.As(err, &own) && ctx.Err() == nil:
			later = append(later, a.postpone(i, err))
		case err != nil:
			return nil, nil, fmt.Errorf("sealing run %s: %w", i.run, err)
		case wait > 0:
			i.due = a.c.Clock.Now().Add(wait)
			later = append(later, i)
		case s != nil:
			runs = append(runs, s)
		default:
			a.behind() // a transaction without an answer came through late
		}
	}
	return runs, later, nil
}

// prepare makes the bundle of a run, but for its place in the chain. wait > 0: not yet. Both nil: there is nothing to seal any more.
func (a *Archiver) prepare(ctx context.Context, i item) (s *sealing, wait time.Duration, err error) {
	run, err := engine.ReadEnded(ctx, a.c.Store, i.run)
	if rpcerr.ReasonOf(err) == rpcerr.Internal {
		err = own(err) // a record that can't be read
	}
	if err != nil || run == nil {
		return nil, 0, err
	}
	if held(run.Jobs) {
		return nil, heldPause, nil
	}
	infos, err := a.c.Logs.List(i.run)
	if err != nil {
		return nil, 0, own(err)
	}
	patient := a.c.Clock.Now().Before(time.UnixMilli(i.endedMS).Add(a.c.LogPatience))
	for _, info := range infos {
		if patient && !info.Complete() && a.c.Logs.Finished(info.Attempt) {
			return nil, logPause, nil
		}
	}
	plan, err := blob.ReadAll(ctx, a.c.Blobs, run.Definition.GetPlanDigest(), maxPlan)
	if errors.Is(err, blob.ErrNotFound) || errors.Is(err, blob.ErrCorrupt) {
		a.c.Log.Error("a finished run can't be sealed without its plan; restore the blob from a backup", "run", i.run, "error", err)
		return nil, lostPause, nil
	}
	if err != nil {
		return nil, 0, own(fmt.Errorf("reading the plan: %w", err))
	}
	if err := a.point(BeforeLogs); err != nil {
		return nil, 0, err
	}
	pack, err := a.pack(ctx, infos)
	if err != nil {
		return nil, 0, own(fmt.Errorf("packing logs: %w", err))
	}
	if err := a.point(AfterLogs); err != nil {
		return nil, 0, err
	}
	refs, err := a.references(ctx, run)
	if err != nil {
		return nil, 0, own(err)
	}
	return &sealing{item: i, run: run, bundle: &statev1.Bundle{Header: run.Header, Definition: run.Definition, Plan: plan, Jobs: run.Jobs, Logs: pack, Blobs: refs}}, 0, nil
}

// held says whether somebody may still look into a job's pod, which its record is to tell.
func held(jobs []*statev1.JobRecord) bool { return slices.ContainsFunc(jobs, lifecycle.Occupied) }

// references are the blobs that the run names.
func (a *Archiver) references(ctx context.Context, run *engine.EndedRun) ([]*statev1.BlobRef, error) {
	var out []*statev1.BlobRef
	if tree := run.Definition.GetSource().GetTree(); tree != "" {
		size, err := a.sizeOf(ctx, tree)
		if err != nil {
			return nil, err
		}
		out = append(out, &statev1.BlobRef{Digest: tree, Size: size, Kind: "source"})
	}
	for _, art := range run.Header.GetArtifacts() {
		out = append(out, artifactRef(art))
	}
	return out, nil
}

func artifactRef(art *corev1.Artifact) *statev1.BlobRef {
	return &statev1.BlobRef{Digest: art.GetDigest(), Size: art.GetSize(), Kind: "artifact", Name: art.GetName(), RetentionDays: art.GetRetentionDays()}
}

// sizeOf is 0 for a blob that is gone: the run is sealed all the same.
func (a *Archiver) sizeOf(ctx context.Context, digest string) (int64, error) {
	r, size, err := a.c.Blobs.Open(ctx, digest)
	if errors.Is(err, blob.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("looking at %s: %w", digest, err)
	}
	return size, closing(r)
}

func closing(c io.Closer) error {
	if err := c.Close(); err != nil {
		return fmt.Errorf("closing: %w", err)
	}
	return nil
}
