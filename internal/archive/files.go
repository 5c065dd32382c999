package archive

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"

	"github.com/klauspost/compress/zstd"
)

// maxSought bounds how much of an archive FilesIn reads to find its folders.
const maxSought = 1 << 30

// FilesIn returns the regular files that lie directly in one of the folders of a packed tree, by their slash-separated paths. A file of more than
// most bytes is cut to most+1, so that the caller can tell. Packed trees are sorted, so it reads no further than the folders. Errors wrap
// ErrLimit or the reader's.
func FilesIn(r io.Reader, folders []string, most int64) (map[string][]byte, error) {
	zr, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(maxMemory), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("archive: zstd: %w", err)
	}
	defer zr.Close()
	limited := &io.LimitedReader{R: zr, N: maxSought}
	last := slices.Max(folders) + "0" // behind FOLDER/…: 0 follows /
	out := map[string][]byte{}
	tr := tar.NewReader(limited)
	for {
		h, err := tr.Next()
		switch {
		case errors.Is(err, io.EOF) && limited.N > 0, err == nil && h.Name > last:
			return out, nil
		case err != nil && limited.N <= 0:
			return nil, fmt.Errorf("%w: the first %d bytes do not reach %v", ErrLimit, int64(maxSought), folders)
		case err != nil:
			return nil, fmt.Errorf("archive: read: %w", err)
		}
		if h.Typeflag != tar.TypeReg || !slices.Contains(folders, path.Dir(h.Name)) {
			continue
		}
		data, err := io.ReadAll(io.LimitReader(tr, most+1))
		if err != nil {
			return nil, fmt.Errorf("archive: read %q: %w", h.Name, err)
		}
		out[h.Name] = data
	}
}
