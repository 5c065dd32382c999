package history

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/slipway-ci/slipway/coordinator/blob"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

type readCloser = io.ReadCloser

// OpenLog reads one log of a sealed run. The last Read fails with blob.ErrCorrupt instead of io.EOF if the bytes are not those that were sealed.
func (h *History) OpenLog(ctx context.Context, b *statev1.Bundle, l *statev1.SealedLog) (io.ReadCloser, error) {
	return OpenLog(ctx, h.blobs, b.GetLogs(), l)
}

// OpenLog reads one log of a pack.
func OpenLog(ctx context.Context, blobs blob.Store, pack *statev1.LogPack, l *statev1.SealedLog) (io.ReadCloser, error) {
	var packed io.ReadCloser
	switch {
	case l.GetPacked() == 0:
		packed = io.NopCloser(bytes.NewReader(nil))
	case pack.GetDigest() == "":
		end := l.GetOffset() + l.GetPacked()
		if l.GetOffset() < 0 || end > int64(len(pack.GetInline())) {
			return nil, fmt.Errorf("the log of job %s, step %d, lies outside of its pack: %w", l.GetJobId(), l.GetStep(), blob.ErrCorrupt)
		}
		packed = io.NopCloser(bytes.NewReader(pack.GetInline()[l.GetOffset():end]))
	default:
		var err error
		if packed, err = openRange(ctx, blobs, pack.GetDigest(), l.GetOffset(), l.GetPacked()); err != nil {
			return nil, fmt.Errorf("opening the logs of a sealed run: %w", err)
		}
	}
	dec, err := zstd.NewReader(packed, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("unpacking the log of job %s, step %d: %w", l.GetJobId(), l.GetStep(), err), packed.Close())
	}
	return &logReader{dec: dec, packed: packed, sum: sha256.New(), log: l}, nil
}

type logReader struct {
	dec    *zstd.Decoder
	packed io.Closer
	sum    hash.Hash
	n      int64
	log    *statev1.SealedLog
}

func (r *logReader) Read(p []byte) (int, error) {
	n, err := r.dec.Read(p)
	r.sum.Write(p[:n])
	r.n += int64(n)
	if err == nil {
		return n, nil
	}
	if !errors.Is(err, io.EOF) {
		return n, fmt.Errorf("unpacking the log of job %s, step %d: %w: %w", r.log.GetJobId(), r.log.GetStep(), blob.ErrCorrupt, err)
	}
	if r.n != r.log.GetLength() || hex.EncodeToString(r.sum.Sum(nil)) != r.log.GetSha256() {
		return n, fmt.Errorf("the log of job %s, step %d: %w", r.log.GetJobId(), r.log.GetStep(), blob.ErrCorrupt)
	}
	return n, io.EOF
}

func (r *logReader) Close() error {
	r.dec.Close()
	return r.packed.Close()
}

// skipTo reads a part of a blob from a store that only has whole ones.
func skipTo(ctx context.Context, blobs blob.Store, digest string, offset, length int64) (io.ReadCloser, error) {
	r, _, err := blobs.Open(ctx, digest)
	if err != nil {
		return nil, err
	}
	if _, err := io.CopyN(io.Discard, r, offset); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return struct {
		io.Reader
		io.Closer
	}{io.LimitReader(r, length), r}, nil
}
