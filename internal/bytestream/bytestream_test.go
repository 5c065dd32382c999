package bytestream_test

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"

	"google.golang.org/protobuf/proto"

	"github.com/slipway-ci/slipway/internal/bytestream"
	fleetv1 "github.com/slipway-ci/slipway/proto/gen/slipway/fleet/v1"
)

func TestThereAndBack(t *testing.T) {
	for _, size := range []int{0, 1, bytestream.Chunk - 1, bytestream.Chunk, bytestream.Chunk + 1, 5*bytestream.Chunk + 7} {
		content := bytes.Repeat([]byte("0123456789\n"), size/11+1)[:size]
		var pieces [][]byte
		err := bytestream.Send(iotest.HalfReader(bytes.NewReader(content)), func(p []byte) error {
			pieces = append(pieces, bytes.Clone(p), nil) // empty messages are nothing
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(bytestream.Reader(func() ([]byte, error) {
			if len(pieces) == 0 {
				return nil, io.EOF
			}
			p := pieces[0]
			pieces = pieces[1:]
			return p, nil
		}))
		if err != nil || !bytes.Equal(got, content) {
			t.Fatalf("%d of %d bytes, %v", len(got), size, err)
		}
	}
}

func TestErrorsOfEitherSide(t *testing.T) {
	bad := errors.New("bad")
	if err := bytestream.Send(iotest.ErrReader(bad), func([]byte) error { return nil }); !errors.Is(err, bad) {
		t.Fatal(err)
	}
	if err := bytestream.Send(bytes.NewReader([]byte("x")), func([]byte) error { return bad }); !errors.Is(err, bad) {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(bytestream.Reader(func() ([]byte, error) { return nil, bad })); !errors.Is(err, bad) {
		t.Fatal(err)
	}
}

// The largest message that carries a chunk must fit into gRPC's buffers of 32 KiB.
func TestAChunkFitsIntoAPooledBuffer(t *testing.T) {
	id := "01j0000000000000000000000000"
	m := &fleetv1.PushLogsRequest{AttemptId: id, Token: "sla_" + id + id + id, Step: 1 << 31, Offset: 1 << 62, Data: make([]byte, bytestream.Chunk), End: true}
	if n := proto.Size(m); n > 32<<10 {
		t.Fatalf("%d bytes", n)
	}
}
