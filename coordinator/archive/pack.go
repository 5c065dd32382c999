package archive

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/slipway-ci/slipway/coordinator/logs"
	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

const (
	// inMemory bounds the logs of a run that are packed in memory; larger ones go straight into the blob store.
	inMemory = 1 << 20
	// inline bounds a pack that rides in the bundle: most runs say little, and a file each would cost more than it holds.
	inline = 64 << 10
)

// packers are costly to make.
var packers = sync.Pool{New: func() any {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithWindowSize(1<<20))
	if err != nil {
		panic(err) // of constant options
	}
	return enc
}}

// pack puts the logs of a run together.
func (a *Archiver) pack(ctx context.Context, infos []logs.Info) (*statev1.LogPack, error) {
	pack := &statev1.LogPack{}
	total := int64(0)
	for _, i := range infos {
		total += i.Size
	}
	if total <= inMemory {
		var buf bytes.Buffer
		if err := a.packInto(&buf, infos, pack); err != nil {
			return nil, err
		}
		if pack.Size = int64(buf.Len()); buf.Len() <= inline {
			pack.Inline = buf.Bytes()
			return pack, nil
		}
		var err error
		pack.Digest, _, err = a.c.Blobs.Put(ctx, &buf)
		a.c.Metrics.bytes.Add(float64(pack.GetSize()))
		return pack, err
	}
	r, w := io.Pipe()
	packed := make(chan error, 1)
	go func() {
		err := a.packInto(w, infos, pack)
		_ = w.CloseWithError(err) // never fails
		packed <- err
	}()
	digest, size, err := a.c.Blobs.Put(ctx, r)
	_ = r.CloseWithError(err)
	if err = errors.Join(err, <-packed); err != nil {
		return nil, err
	}
	pack.Digest, pack.Size = digest, size
	a.c.Metrics.bytes.Add(float64(size))
	return pack, nil
}

// counter counts what is written through it.
type counter struct {
	w io.Writer
	n int64
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

func (a *Archiver) packInto(w io.Writer, infos []logs.Info, pack *statev1.LogPack) error {
	out := &counter{w: w}
	enc := packers.Get().(*zstd.Encoder) //nolint:forcetypeassert // nothing else is in it
	defer packers.Put(enc)
	for _, i := range infos {
		l := &statev1.SealedLog{JobId: i.Job, AttemptId: i.Attempt, Step: i.Step, Offset: out.n, Damaged: i.Damaged, Unfinished: !a.c.Logs.Finished(i.Attempt)}
		if l.Missing = max(0, i.Want-i.Size); l.GetMissing() > 0 {
			a.c.Metrics.gaps.Inc()
			a.c.Log.Warn("a log is sealed with a gap: its agent never sent the rest", "job", i.Job, "attempt", i.Attempt, "step", i.Step, "missing", l.GetMissing())
		}
		sum := sha256.New()
		if i.Size > 0 {
			enc.Reset(out)
			n, err := io.Copy(io.MultiWriter(enc, sum), &logReader{logs: a.c.Logs, info: i})
			if err = errors.Join(err, enc.Close()); err != nil {
				return fmt.Errorf("job %s, step %d: %w", i.Job, i.Step, err)
			}
			l.Length = n
		}
		l.Packed, l.Sha256 = out.n-l.GetOffset(), hex.EncodeToString(sum.Sum(nil))
		pack.Logs = append(pack.Logs, l)
	}
	return nil
}

// logReader reads a log up to the length that it had when it was listed.
type logReader struct {
	logs Logs
	info logs.Info
	at   int64
}

func (r *logReader) Read(p []byte) (int, error) {
	left := r.info.Size - r.at
	if left == 0 {
		return 0, io.EOF
	}
	n, err := r.logs.ReadAt(r.info.Attempt, r.info.Step, p[:min(int64(len(p)), left)], r.at)
	r.at += int64(n)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}
