// Package artifacts lists and reads what jobs uploaded: named blobs of a run. A record is made through engine.Control.AddArtifact; the bytes
// are in the blob store.
package artifacts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/slipway-ci/slipway/coordinator/blob"
	"github.com/slipway-ci/slipway/coordinator/engine"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// maxName bounds an artifact's name in bytes.
const maxName = 255

// maxRetentionDays of an artifact: longer is as long as its run.
const maxRetentionDays = 36_500

// Artifacts reads and adds artifacts. Safe for concurrent use.
type Artifacts struct {
	control engine.Control
	blobs   blob.Store
}

// New returns the artifacts of the runs that c knows.
func New(c engine.Control, b blob.Store) *Artifacts { return &Artifacts{control: c, blobs: b} }

// List returns a run's artifacts in order of creation.
func (a *Artifacts) List(ctx context.Context, runID string) ([]*corev1.Artifact, error) {
	run, err := a.control.Run(ctx, runID)
	if err != nil {
		return nil, err
	}
	return run.GetArtifacts(), nil
}

// Open reads an artifact's zip. NOT_FOUND names the artifacts that there are.
func (a *Artifacts) Open(ctx context.Context, runID, name string) (io.ReadCloser, error) {
	all, err := a.List(ctx, runID)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, art := range all {
		if art.GetName() == name {
			r, _, err := a.blobs.Open(ctx, art.GetDigest())
			if errors.Is(err, blob.ErrNotFound) {
				return nil, rpcerr.New(rpcerr.NotFound, "the content of artifact %q of run %s is not in the blob store any more: its retention-days are over, or it was removed", name, runID)
			}
			if err != nil {
				return nil, fmt.Errorf("opening artifact %q of run %s: %w", name, runID, err)
			}
			return r, nil
		}
		names = append(names, art.GetName())
	}
	if len(names) == 0 {
		return nil, rpcerr.New(rpcerr.NotFound, "run %s has no artifacts (yet)", runID)
	}
	return nil, rpcerr.New(rpcerr.NotFound, "run %s has no artifact %q; it has %s", runID, name, strings.Join(names, ", "))
}

// Add records a stored blob as an artifact of the attempt's run. The size is the blob's, the job the attempt's, whatever the caller says.
func (a *Artifacts) Add(ctx context.Context, ref engine.AttemptRef, art *corev1.Artifact, overwrite bool) error {
	if err := CheckName(art.GetName()); err != nil {
		return rpcerr.New(rpcerr.InvalidRequest, "%v", err)
	}
	err := blob.Claim(ctx, a.blobs, art.GetDigest())
	if errors.Is(err, blob.ErrNotFound) || errors.Is(err, blob.ErrDigest) {
		return rpcerr.New(rpcerr.InvalidRequest, "artifact %q: no blob has digest %.80q; upload it first", art.GetName(), art.GetDigest())
	}
	if err != nil {
		return fmt.Errorf("adding artifact %q: %w", art.GetName(), err)
	}
	r, size, err := a.blobs.Open(ctx, art.GetDigest())
	if err != nil {
		return fmt.Errorf("adding artifact %q: %w", art.GetName(), err)
	}
	_ = r.Close()
	return a.control.AddArtifact(ctx, ref, &corev1.Artifact{
		Name: art.GetName(), Digest: art.GetDigest(), Size: size, Files: art.GetFiles(), JobId: ref.JobID, AttemptId: ref.AttemptID, Tests: art.GetTests(),
		RetentionDays: min(art.GetRetentionDays(), maxRetentionDays),
	}, overwrite)
}

// CheckName refuses what can't be a file's name everywhere, as actions/upload-artifact does.
func CheckName(name string) error {
	switch {
	case name == "" || len(name) > maxName || !utf8.ValidString(name):
		return fmt.Errorf("an artifact's name must have 1 to %d bytes of UTF-8", maxName)
	case strings.ContainsAny(name, "\":<>|*?\\/\r\n\x00"):
		return fmt.Errorf("the artifact's name %q has one of the characters \" : < > | * ? \\ / or a line break", name)
	case name == "." || name == "..":
		return fmt.Errorf("an artifact can't be named %q", name)
	}
	return nil
}
