// Package bytestream carries files and logs over gRPC streams, in messages.
package bytestream

import (
	"errors"
	"io"
)

// Chunk is the most bytes of one message. gRPC takes its buffers from pools: a message with its headers in it that has at most 32 KiB gets one
// of 32 KiB, a larger one gets one of 1 MiB, which is cleared every time. With chunks of 64 KiB that was a quarter of a log's cost.
const Chunk = 31 << 10

// Send gives r to send, piece by piece, and returns the first error of either. A piece's memory is used again after send has returned.
func Send(r io.Reader, send func(piece []byte) error) error {
	buf := make([]byte, Chunk)
	for {
		n, err := io.ReadFull(r, buf)
		if n > 0 {
			if err := send(buf[:n]); err != nil {
				return err
			}
		}
		switch {
		case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// Reader returns a reader of the pieces that recv returns, in order, up to and with recv's error: io.EOF at a stream's regular end.
func Reader(recv func() ([]byte, error)) io.Reader { return &reader{recv: recv} }

type reader struct {
	recv func() ([]byte, error)
	left []byte
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	for len(r.left) == 0 {
		piece, err := r.recv()
		if err != nil {
			return 0, err
		}
		r.left = piece
	}
	n := copy(p, r.left)
	r.left = r.left[n:]
	return n, nil
}
