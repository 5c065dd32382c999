// Package artifact lays a downloaded artifact out on disk. An artifact is what some job made, so nothing in it is
// trusted: it goes through an os.Root, with limits.
package artifact

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"github.com/slipway-ci/slipway/internal/cli/exit"
)

// Limits of what Extract lays out.
const (
	maxFiles = 1_000_000
	maxBytes = 20 << 30
)

// API is what Get needs of sdk/client.
type API interface {
	Download(ctx context.Context, runID, name string, w io.Writer) (int64, error)
}

// Zip downloads an artifact into a zip file, whole or not at all.
func Zip(ctx context.Context, api API, runID, name, file string) error {
	tmp, err := os.CreateTemp(filepath.Dir(file), ".slipway-artifact-*")
	if err != nil {
		return exit.With(exit.System, err)
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	if _, err := api.Download(ctx, runID, name, tmp); err != nil {
		return err
	}
	if err := errors.Join(tmp.Chmod(0o644), tmp.Close(), os.Rename(tmp.Name(), file)); err != nil {
		return exit.With(exit.System, err)
	}
	return nil
}

// Get downloads an artifact and lays its files out in dir. It returns how many files there were.
func Get(ctx context.Context, api API, runID, name, dir string) (int, error) {
	tmp, err := os.CreateTemp("", "slipway-artifact-*.zip")
	if err != nil {
		return 0, exit.With(exit.System, err)
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	size, err := api.Download(ctx, runID, name, tmp)
	if err != nil {
		return 0, err
	}
	r, err := zip.NewReader(tmp, size)
	if err != nil {
		return 0, exit.Systemf("artifact %q is not a readable zip: %w", name, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return 0, exit.With(exit.System, err)
	}
	n, err := extract(r, dir)
	if err != nil {
		return n, exit.Systemf("laying out artifact %q in %s: %w", name, dir, err)
	}
	return n, nil
}

func extract(r *zip.Reader, dir string) (files int, err error) {
	if len(r.File) > maxFiles {
		return 0, fmt.Errorf("it has %d entries, more than %d", len(r.File), maxFiles)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return 0, err
	}
	defer func() { _ = root.Close() }() // nothing was written through it that is not closed by itself
	left := int64(maxBytes)
	for _, f := range r.File {
		name := filepath.FromSlash(path.Clean(f.Name))
		mode := f.Mode()
		switch {
		case !filepath.IsLocal(name):
			return files, fmt.Errorf("entry %q points outside", f.Name)
		case mode.IsDir():
			if err := root.MkdirAll(name, 0o755); err != nil {
				return files, err
			}
			continue
		case !mode.IsRegular():
			return files, fmt.Errorf("entry %q is neither a file nor a directory", f.Name)
		}
		n, err := extractFile(root, f, name, left)
		if left -= n; err != nil {
			return files, fmt.Errorf("entry %q: %w", f.Name, err)
		}
		files++
	}
	return files, nil
}

func extractFile(root *os.Root, f *zip.File, name string, limit int64) (int64, error) {
	if err := root.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return 0, err
	}
	src, err := f.Open()
	if err != nil {
		return 0, err
	}
	defer src.Close()
	// Removed first: an existing link must not be written through.
	if err := root.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return 0, err
	}
	dst, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644|f.Mode().Perm()&0o111)
	if err != nil {
		return 0, err
	}
	n, err := io.Copy(dst, io.LimitReader(src, limit+1))
	if err == nil && n > limit {
		err = fmt.Errorf("the artifact unpacks to more than %d GiB", maxBytes>>30)
	}
	return n, errors.Join(err, dst.Close())
}

// Dir is where an artifact's files go: what the user said, or a directory named like the artifact.
func Dir(wanted, name string) (string, error) {
	if wanted != "" {
		return wanted, nil
	}
	if !filepath.IsLocal(name) || filepath.Base(name) != name || name == "." {
		return "", exit.Invalidf("artifact %q does not name a directory: say where to put it with --dir", name)
	}
	return name, nil
}
