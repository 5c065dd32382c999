package native

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/slipway-ci/slipway/agent/commands"
	corev1 "github.com/slipway-ci/slipway/proto/gen/slipway/core/v1"
)

// downloadArtifact has the meaning of actions/download-artifact v4: one artifact by name goes into `path` itself, several
// (by pattern, or all) each into a directory of its name, or all into one with merge-multiple.
func downloadArtifact(ctx context.Context, c *Call) (Outcome, error) {
	if err := c.refuse("run-id", "repository", "github-token", "artifact-ids"); err != nil {
		return Outcome{}, err
	}
	merge, err := c.flag("merge-multiple", false)
	if err != nil {
		return Outcome{}, err
	}
	all, err := c.artifacts(ctx)
	if err != nil {
		return Outcome{}, fmt.Errorf("download-artifact: list: %w", err)
	}
	name := c.input("name", "")
	chosen, err := choose(all, name, c.input("pattern", ""))
	if err != nil {
		return Outcome{}, err
	}
	dest := c.abs(c.input("path", "."))
	for _, a := range chosen {
		into := dest
		if name == "" && !merge {
			if err := checkArtifactName(a.GetName()); err != nil {
				return Outcome{}, err
			}
			into = path.Join(dest, a.GetName())
		}
		if err := c.download(ctx, a, into); err != nil {
			return Outcome{}, fmt.Errorf("download-artifact: %s: %w", a.GetName(), err)
		}
	}
	c.Log("Downloaded %s.", plural(len(chosen), "artifact"))
	return Outcome{Outputs: []commands.Pair{{Name: "download-path", Value: dest}}}, nil
}

func choose(all []*corev1.Artifact, name, pattern string) ([]*corev1.Artifact, error) {
	if name != "" {
		for _, a := range all {
			if a.GetName() == name {
				return []*corev1.Artifact{a}, nil
			}
		}
		var names []string
		for _, a := range all {
			names = append(names, a.GetName())
		}
		have := "this run has none so far"
		if len(names) > 0 {
			have = "this run has " + strings.Join(names, ", ")
		}
		return nil, userErrorf("Unable to download artifact(s): Artifact not found for name: %s; %s. Does this job need the one that uploads it?", name, have)
	}
	chosen := slices.Clone(all)
	if pattern != "" {
		if _, err := path.Match(pattern, ""); err != nil {
			return nil, userErrorf("input pattern: %q is not a pattern: %w", pattern, err)
		}
		chosen = slices.DeleteFunc(chosen, func(a *corev1.Artifact) bool {
			ok, _ := path.Match(pattern, a.GetName())
			return !ok
		})
	}
	slices.SortStableFunc(chosen, func(a, b *corev1.Artifact) int { return strings.Compare(a.GetName(), b.GetName()) })
	return chosen, nil
}

func (c *Call) download(ctx context.Context, a *corev1.Artifact, into string) error {
	f, err := c.fetch(ctx, a.GetDigest())
	if err != nil {
		return err
	}
	defer f.discard()
	root, closeRoot, err := c.target(into)
	if err != nil {
		return err
	}
	defer closeRoot()
	n, err := unzip(f, f.size, root)
	if err != nil {
		return err
	}
	c.Log("%s: %s into %s.", a.GetName(), plural(n, "file"), into)
	return nil
}

// Bounds of what one artifact may unpack to: another job of the run made it.
const (
	maxUnzipped = 32 << 30
	maxEntries  = 1_000_000
)

// unzip lays files out beneath root, over what is there; it makes no links.
func unzip(r io.ReaderAt, size int64, root *os.Root) (files int, err error) {
	zr, err := zip.NewReader(r, size)
	if err != nil && !errors.Is(err, zip.ErrInsecurePath) {
		return 0, fmt.Errorf("read the zip: %w", err)
	}
	if len(zr.File) > maxEntries {
		return 0, userErrorf("the artifact holds more than %d files", maxEntries)
	}
	left := int64(maxUnzipped)
	for _, f := range zr.File {
		name := strings.TrimSuffix(f.Name, "/")
		if !filepath.IsLocal(filepath.FromSlash(name)) || strings.ContainsAny(name, "\\\x00") {
			return files, userErrorf("the artifact names a file outside its directory: %q", f.Name)
		}
		if f.FileInfo().IsDir() {
			if err := root.MkdirAll(name, 0o777); err != nil {
				return files, userErrorf("%s: %w", name, err)
			}
			continue
		}
		if !f.Mode().IsRegular() {
			return files, userErrorf("the artifact holds %q, which is no file", f.Name)
		}
		n, err := unzipFile(f, name, root, left)
		if err != nil {
			return files, fmt.Errorf("%s: %w", name, err)
		}
		left -= n
		files++
	}
	return files, nil
}

func unzipFile(f *zip.File, name string, root *os.Root, left int64) (int64, error) {
	if dir := path.Dir(name); dir != "." {
		if err := root.MkdirAll(dir, 0o777); err != nil {
			return 0, &UserError{Err: err}
		}
	}
	if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, &UserError{Err: err}
	}
	in, err := f.Open()
	if err != nil {
		return 0, err
	}
	defer in.Close()
	perm := f.Mode().Perm() | 0o600
	out, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, perm)
	if err != nil {
		return 0, &UserError{Err: err}
	}
	n, err := io.Copy(out, io.LimitReader(in, left+1))
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if err == nil && n > left {
		err = userErrorf("the artifact unpacks to more than %d bytes", int64(maxUnzipped))
	}
	return n, err
}
