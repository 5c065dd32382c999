package seal

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/proto"

	statev1 "github.com/slipway-ci/slipway/proto/gen/slipway/state/v1"
)

// ErrFormat: the bytes are not a sealed message that this version reads.
var ErrFormat = errors.New("seal: not a sealed message of a known format")

// maxBytes bounds what a sealed message unpacks to.
const maxBytes = 256 << 20

// The formats: a line in front of a zstd stream of a protobuf message of state/v1. A new meaning gets a new line; old ones stay readable.
const (
	bundleMagic     = "slipway bundle 1\n"
	tombstonesMagic = "slipway tombstones 1\n"
)

// coders of zstd are made once: they are costly, safe for concurrent use, and with one goroutine each their output depends on the input alone.
var coders = sync.OnceValues(func() (*zstd.Encoder, *zstd.Decoder) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderCRC(false))
	if err != nil {
		panic(err) // of constant options
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxBytes))
	if err != nil {
		panic(err)
	}
	return enc, dec
})

// Encode returns a bundle's bytes: the same for the same bundle, in one version of this program. Nothing may rely on that between versions: a
// digest is of the bytes that were stored.
func Encode(b *statev1.Bundle) ([]byte, error) { return encode(bundleMagic, b) }

// Decode reads what Encode made; ErrFormat for anything else.
func Decode(data []byte) (*statev1.Bundle, error) {
	b := &statev1.Bundle{}
	return b, decode(bundleMagic, data, b)
}

// EncodeTombstones and DecodeTombstones do the same for tombstones.
func EncodeTombstones(t *statev1.Tombstones) ([]byte, error) { return encode(tombstonesMagic, t) }

// DecodeTombstones reads what EncodeTombstones made; ErrFormat for anything else.
func DecodeTombstones(data []byte) (*statev1.Tombstones, error) {
	t := &statev1.Tombstones{}
	return t, decode(tombstonesMagic, data, t)
}

func encode(magic string, m proto.Message) ([]byte, error) {
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	if len(raw) > maxBytes {
		return nil, fmt.Errorf("seal: %d bytes are more than a sealed message may have", len(raw))
	}
	enc, _ := coders()
	return enc.EncodeAll(raw, []byte(magic)), nil
}

func decode(magic string, data []byte, into proto.Message) error {
	packed, ok := bytes.CutPrefix(data, []byte(magic))
	if !ok {
		return fmt.Errorf("%w: it begins with %.20q", ErrFormat, data)
	}
	_, dec := coders()
	raw, err := dec.DecodeAll(packed, nil)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if err := proto.Unmarshal(raw, into); err != nil {
		return fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return nil
}

// Digest returns the digest that a blob store gives these bytes.
func Digest(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Link returns the link of a bundle: lower-case hex of a SHA-256. previous is the link before it, "" for the first.
func Link(project string, seq uint64, previous, digest string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "slipway link 1\n%s\n%d\n%s\n%s\n", project, seq, previous, digest))
	return hex.EncodeToString(sum[:])
}
