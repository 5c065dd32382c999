package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// maxSought bounds how much of an archive Files reads, maxFound how much of it it returns, in bytes.
const (
	maxSought = 1 << 30
	maxFound  = 64 << 20
)

// Files returns the regular files of a packed tree that are wanted, by their slash-separated paths. A file of more than most bytes is cut to most+1, so
// that the caller can tell. Packed trees are sorted: it reads no further than the path last, or all of it if that is "". Errors wrap ErrLimit or the
// reader's.
func Files(r io.Reader, last string, wanted func(path string) bool, most int64) (map[string][]byte, error) {
	zr, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(maxMemory), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("archive: zstd: %w", err)
	}
	defer zr.Close()
	limited := &io.LimitedReader{R: zr, N: maxSought}
	out := map[string][]byte{}
	found := 0
	tr := tar.NewReader(limited)
	for {
		h, err := tr.Next()
		switch {
		case errors.Is(err, io.EOF) && limited.N > 0, err == nil && last != "" && h.Name > last:
			return out, nil
		case err != nil && limited.N <= 0:
			return nil, fmt.Errorf("%w: what is sought does not lie in the first %d bytes", ErrLimit, int64(maxSought))
		case err != nil:
			return nil, fmt.Errorf("archive: read: %w", err)
		}
		if h.Typeflag != tar.TypeReg || !wanted(h.Name) {
			continue
		}
		data, err := io.ReadAll(io.LimitReader(tr, most+1))
		if err != nil {
			return nil, fmt.Errorf("archive: read %q: %w", h.Name, err)
		}
		if found += len(data); found > maxFound {
			return nil, fmt.Errorf("%w: the files that are sought have more than %d bytes", ErrLimit, maxFound)
		}
		out[h.Name] = data
	}
}
