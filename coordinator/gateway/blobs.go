package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"

	"google.golang.org/grpc"

	"github.com/slipway-ci/slipway/coordinator/blob"
	"github.com/slipway-ci/slipway/coordinator/engine"
	"github.com/slipway-ci/slipway/internal/bytestream"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

// GetBlob implements fleetv1.FleetServiceServer. An attempt may read its run's source and its run's artifacts, nothing else.
func (g *Gateway) GetBlob(req *fleetv1.GetBlobRequest, stream grpc.ServerStreamingServer[fleetv1.GetBlobResponse]) error {
	ctx := stream.Context()
	ref, err := g.attempt(ctx, req.GetAttemptId(), req.GetToken())
	if err != nil {
		return err
	}
	if err := g.mayRead(ctx, ref, req.GetDigest()); err != nil {
		return err
	}
	r, _, err := g.Blobs.Open(ctx, req.GetDigest())
	switch {
	case errors.Is(err, blob.ErrNotFound):
		return rpcerr.New(rpcerr.NotFound, "blob %s is not in the store any more", req.GetDigest())
	case err != nil:
		return g.internal("reading a blob", err)
	}
	defer func() { _ = r.Close() }()
	return g.internal("reading a blob", bytestream.Send(r, func(piece []byte) error { return stream.Send(&fleetv1.GetBlobResponse{Data: piece}) }))
}

func (g *Gateway) mayRead(ctx context.Context, ref engine.AttemptRef, digest string) error {
	if digest != "" && digest == ref.Source {
		return nil
	}
	all, err := g.Artifacts.List(ctx, ref.RunID)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(all, func(a *corev1.Artifact) bool { return a.GetDigest() == digest }) {
		return nil
	}
	return rpcerr.New(rpcerr.PermissionDenied, "attempt %s may not read blob %.80q: it is neither its run's source nor one of its artifacts", ref.AttemptID, digest)
}

// PutBlob implements fleetv1.FleetServiceServer.
func (g *Gateway) PutBlob(stream grpc.ClientStreamingServer[fleetv1.PutBlobRequest, fleetv1.PutBlobResponse]) error {
	ctx := stream.Context()
	first, err := stream.Recv()
	if errors.Is(err, io.EOF) {
		return rpcerr.New(rpcerr.InvalidRequest, "an upload without a first message")
	}
	if err != nil {
		return err
	}
	if _, err := g.attempt(ctx, first.GetAttemptId(), first.GetToken()); err != nil {
		return err
	}
	content := io.MultiReader(bytes.NewReader(first.GetData()), bytestream.Reader(func() ([]byte, error) {
		m, err := stream.Recv()
		return m.GetData(), err
	}))
	digest, size, err := g.Blobs.Put(ctx, blob.Limit(content, g.BlobBytes))
	switch {
	case errors.Is(err, blob.ErrTooLarge):
		return rpcerr.New(rpcerr.InvalidRequest, "the upload has more than %d bytes; raise limits.blob_bytes in the coordinator's configuration, or upload less", g.BlobBytes)
	case err != nil:
		return g.internal("storing a blob", err)
	}
	return stream.SendAndClose(&fleetv1.PutBlobResponse{Digest: digest, Size: size})
}

// CreateArtifact implements fleetv1.FleetServiceServer.
func (g *Gateway) CreateArtifact(ctx context.Context, req *fleetv1.CreateArtifactRequest) (*fleetv1.CreateArtifactResponse, error) {
	ref, err := g.attempt(ctx, req.GetAttemptId(), req.GetToken())
	if err != nil {
		return nil, err
	}
	if err := g.Artifacts.Add(ctx, ref, req.GetArtifact(), req.GetOverwrite()); err != nil {
		return nil, g.internal("adding an artifact", err)
	}
	return &fleetv1.CreateArtifactResponse{}, nil
}

// ListArtifacts implements fleetv1.FleetServiceServer.
func (g *Gateway) ListArtifacts(ctx context.Context, req *fleetv1.ListArtifactsRequest) (*fleetv1.ListArtifactsResponse, error) {
	ref, err := g.attempt(ctx, req.GetAttemptId(), req.GetToken())
	if err != nil {
		return nil, err
	}
	all, err := g.Artifacts.List(ctx, ref.RunID)
	if err != nil {
		return nil, err
	}
	return &fleetv1.ListArtifactsResponse{Artifacts: all}, nil
}
