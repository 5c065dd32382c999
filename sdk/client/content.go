package client

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/slipway-ci/slipway/internal/bytestream"
	apiv1 "github.com/slipway-ci/slipway/proto/gen/slipway/api/v1"
)

// Upload stores content and returns its digest. r is read from its beginning, again after an outage.
func (c *Client) Upload(ctx context.Context, r io.ReadSeeker) (digest string, size int64, err error) {
	var out *apiv1.UploadBlobResponse
	err = c.retry(ctx, "uploading the working tree", func(ctx context.Context) (err error) {
		out, err = c.uploadOnce(ctx, r)
		return err
	})
	return out.GetDigest(), out.GetSize(), err
}

// uploadOnce sends r from its beginning. An error of reading r is no gRPC status, so it is not tried again.
func (c *Client) uploadOnce(ctx context.Context, r io.ReadSeeker) (*apiv1.UploadBlobResponse, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if _, err := r.Seek(0, io.SeekStart); err != nil {
		return nil, fmt.Errorf("rewinding: %w", err)
	}
	stream, err := c.blobs.UploadBlob(ctx)
	if err != nil {
		return nil, err
	}
	err = bytestream.Send(r, func(piece []byte) error { return stream.Send(&apiv1.UploadBlobRequest{Data: piece}) })
	// io.EOF is Send's: the reason comes with CloseAndRecv.
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("reading: %w", err)
	}
	return stream.CloseAndRecv()
}

// Artifacts lists a run's artifacts.
func (c *Client) Artifacts(ctx context.Context, runID string) (*apiv1.ListArtifactsResponse, error) {
	var out *apiv1.ListArtifactsResponse
	err := c.retry(ctx, "listing the artifacts of run "+runID, func(ctx context.Context) (err error) {
		out, err = c.artifacts.ListArtifacts(ctx, &apiv1.ListArtifactsRequest{RunId: runID})
		return err
	})
	return out, err
}

// Download writes an artifact's zip to w. It is not repeated after an outage in the middle: w may not be rewound.
func (c *Client) Download(ctx context.Context, runID, name string, w io.Writer) (int64, error) {
	op := fmt.Sprintf("downloading artifact %q of run %s", name, runID)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var stream interface {
		Recv() (*apiv1.DownloadArtifactResponse, error)
	}
	var first *apiv1.DownloadArtifactResponse
	err := c.retry(ctx, op, func(ctx context.Context) error {
		s, err := c.artifacts.DownloadArtifact(ctx, &apiv1.DownloadArtifactRequest{RunId: runID, Name: name})
		if err != nil {
			return err
		}
		stream = s
		first, err = s.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	})
	if err != nil {
		return 0, err
	}
	var written int64
	for m := first; m != nil; {
		n, err := w.Write(m.GetData())
		written += int64(n)
		if err != nil {
			return written, fmt.Errorf("%s: writing: %w", op, err)
		}
		if m, err = stream.Recv(); errors.Is(err, io.EOF) {
			return written, nil
		} else if err != nil {
			return written, c.wrap(op, err)
		}
	}
	return written, nil
}
