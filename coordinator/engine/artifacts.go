package engine

import (
	"context"

	"github.com/slipway-ci/slipway/coordinator/lifecycle"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// AddArtifact implements Control.
func (e *Engine) AddArtifact(ctx context.Context, ref AttemptRef, a *corev1.Artifact, overwrite bool) error {
	return e.ask(ctx, func(reply func(error)) {
		r, known := e.runs[ref.RunID], e.attempts[ref.AttemptID]
		if r == nil || known == nil || known.done {
			reply(rpcerr.New(rpcerr.Fenced, "attempt %s has ended; it can't add artifacts", ref.AttemptID))
			return
		}
		e.enqueue(r, func(d *draft) {
			err := d.addArtifact(known, a, overwrite)
			d.then(func() { reply(err) })
		})
	})
}

func (d *draft) addArtifact(ref *attemptRef, a *corev1.Artifact, overwrite bool) error {
	rec := d.current(ref)
	if rec == nil || lifecycle.Attempt.IsTerminal(rec.GetAttempt().GetState()) {
		return rpcerr.New(rpcerr.Fenced, "attempt %s has ended; it can't add artifacts", ref.id)
	}
	a, err := boundArtifact(d.head(), a)
	if err != nil {
		return err
	}
	for i, old := range d.head().GetArtifacts() {
		if old.GetName() != a.GetName() {
			continue
		}
		switch {
		case old.GetDigest() == a.GetDigest():
			return nil
		case !overwrite && (old.GetJobId() != a.GetJobId() || old.GetAttemptId() == a.GetAttemptId()):
			return rpcerr.New(rpcerr.AlreadyExists, "the run has an artifact %q already; choose another name, or set overwrite: true", a.GetName())
		}
		d.editHead().Artifacts[i] = a
		return nil
	}
	h := d.editHead()
	h.Artifacts = append(h.Artifacts, a)
	return nil
}
