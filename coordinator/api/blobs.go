package api

import (
	"context"
	"errors"

	"google.golang.org/grpc"

	"github.com/slipway-ci/slipway/coordinator/blob"
	"github.com/slipway-ci/slipway/internal/bytestream"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
)

// blobs implements apiv1.BlobServiceServer.
type blobs struct {
	apiv1.UnimplementedBlobServiceServer
	Deps
}

func (s *blobs) UploadBlob(stream grpc.ClientStreamingServer[apiv1.UploadBlobRequest, apiv1.UploadBlobResponse]) error {
	ctx := stream.Context()
	content := bytestream.Reader(func() ([]byte, error) {
		m, err := stream.Recv()
		return m.GetData(), err
	})
	digest, size, err := s.Blobs.Put(ctx, blob.Limit(content, s.Limits.BlobBytes))
	switch {
	case errors.Is(err, blob.ErrTooLarge):
		return rpcerr.New(rpcerr.InvalidRequest, "the upload has more than %d bytes; raise limits.blob_bytes in the coordinator's configuration, or exclude files with .gitignore", s.Limits.BlobBytes)
	case err != nil:
		return s.internal("storing an upload", err)
	}
	return stream.SendAndClose(&apiv1.UploadBlobResponse{Digest: digest, Size: size})
}

// artifactServer implements apiv1.ArtifactServiceServer.
type artifactServer struct {
	apiv1.UnimplementedArtifactServiceServer
	Deps
}

func (s *artifactServer) ListArtifacts(ctx context.Context, req *apiv1.ListArtifactsRequest) (*apiv1.ListArtifactsResponse, error) {
	all, err := s.Artifacts.List(ctx, req.GetRunId())
	if err != nil {
		return nil, s.internal("listing artifacts", err)
	}
	return &apiv1.ListArtifactsResponse{Artifacts: all}, nil
}

func (s *artifactServer) DownloadArtifact(req *apiv1.DownloadArtifactRequest, stream grpc.ServerStreamingServer[apiv1.DownloadArtifactResponse]) error {
	ctx := stream.Context()
	r, err := s.Artifacts.Open(ctx, req.GetRunId(), req.GetName())
	if err != nil {
		return s.internal("opening an artifact", err)
	}
	defer func() { _ = r.Close() }()
	err = bytestream.Send(r, func(piece []byte) error { return stream.Send(&apiv1.DownloadArtifactResponse{Data: piece}) })
	return s.internal("reading an artifact", err)
}
