package api

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"

	"github.com/slipway-ci/slipway/coordinator/blob"
	"github.com/slipway-ci/slipway/internal/rpcerr"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
)

// downloadChunk is the size of one message of a download.
const downloadChunk = 256 << 10

// blobs implements apiv1.BlobServiceServer.
type blobs struct {
	apiv1.UnimplementedBlobServiceServer
	Deps
}

func (s *blobs) UploadBlob(stream grpc.ClientStreamingServer[apiv1.UploadBlobRequest, apiv1.UploadBlobResponse]) error {
	ctx := stream.Context()
	digest, size, err := s.Blobs.Put(ctx, blob.Limit(&uploadReader{stream: stream}, s.Limits.BlobBytes))
	switch {
	case errors.Is(err, blob.ErrTooLarge):
		return rpcerr.New(rpcerr.InvalidRequest, "the upload has more than %d bytes; raise limits.blob_bytes in the coordinator's configuration, or exclude files with .gitignore", s.Limits.BlobBytes)
	case err != nil:
		return s.internal(ctx, "storing an upload", err)
	}
	return stream.SendAndClose(&apiv1.UploadBlobResponse{Digest: digest, Size: size})
}

// uploadReader reads the bytes of an upload.
type uploadReader struct {
	stream grpc.ClientStreamingServer[apiv1.UploadBlobRequest, apiv1.UploadBlobResponse]
	left   []byte
}

func (r *uploadReader) Read(p []byte) (int, error) {
	for len(r.left) == 0 {
		m, err := r.stream.Recv()
		if err != nil {
			return 0, err // io.EOF at the regular end
		}
		r.left = m.GetData()
	}
	n := copy(p, r.left)
	r.left = r.left[n:]
	return n, nil
}

// artifactServer implements apiv1.ArtifactServiceServer.
type artifactServer struct {
	apiv1.UnimplementedArtifactServiceServer
	Deps
}

func (s *artifactServer) ListArtifacts(ctx context.Context, req *apiv1.ListArtifactsRequest) (*apiv1.ListArtifactsResponse, error) {
	all, err := s.Artifacts.List(ctx, req.GetRunId())
	if err != nil {
		return nil, s.internal(ctx, "listing artifacts", err)
	}
	return &apiv1.ListArtifactsResponse{Artifacts: all}, nil
}

func (s *artifactServer) DownloadArtifact(req *apiv1.DownloadArtifactRequest, stream grpc.ServerStreamingServer[apiv1.DownloadArtifactResponse]) error {
	ctx := stream.Context()
	r, err := s.Artifacts.Open(ctx, req.GetRunId(), req.GetName())
	if err != nil {
		return s.internal(ctx, "opening an artifact", err)
	}
	defer func() { _ = r.Close() }()
	buf := make([]byte, downloadChunk)
	for {
		n, err := io.ReadFull(r, buf)
		if n > 0 {
			if err := stream.Send(&apiv1.DownloadArtifactResponse{Data: buf[:n]}); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return s.internal(ctx, "reading an artifact", err)
		}
	}
}
