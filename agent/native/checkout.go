package native

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/slipway-ci/slipway/internal/archive"
)

// checkout lays out the run's tree. It has no repository: the tree was packed when the run was submitted.
func checkout(ctx context.Context, c *Call) (Outcome, error) {
	if err := c.refuse("repository", "ref", "ssh-key", "sparse-checkout", "filter"); err != nil {
		return Outcome{}, err
	}
	if v := c.input("submodules", "false"); v != "false" {
		return Outcome{}, userErrorf("input submodules: %q is not supported yet; the submitted tree is laid out as it is", v)
	}
	if v := c.input("lfs", "false"); v != "false" {
		return Outcome{}, userErrorf("input lfs: %q is not supported yet; the submitted tree is laid out as it is", v)
	}
	c.ignore("the tree of the run is laid out without its history", "fetch-depth", "fetch-tags", "token", "persist-credentials", "show-progress", "set-safe-directory")
	if c.Source == "" {
		return Outcome{}, userErrorf("this run has no source tree to check out: it was submitted without one")
	}
	clean, err := c.flag("clean", true)
	if err != nil {
		return Outcome{}, err
	}
	root, closeRoot, err := c.target(c.input("path", "."))
	if err != nil {
		return Outcome{}, err
	}
	defer closeRoot()
	if clean {
		if err := empty(root); err != nil {
			return Outcome{}, fmt.Errorf("checkout: empty the directory: %w", err)
		}
	}
	f, err := c.fetch(ctx, c.Source)
	if err != nil {
		return Outcome{}, fmt.Errorf("checkout: %w", err)
	}
	defer f.discard()
	if err := archive.Unpack(f, root, archive.Limits{}); err != nil {
		return Outcome{}, fmt.Errorf("checkout: %w", err)
	}
	c.Log("Laid out the tree of this run (%s, %d bytes packed).", c.Source, f.size)
	return Outcome{}, nil
}

// target opens a directory of the container's, making it if needed.
func (c *Call) target(p string) (root *os.Root, closeRoot func(), err error) {
	t, rel, err := c.place(p)
	if err != nil {
		return nil, nil, err
	}
	if rel == "." {
		return t.Root, func() {}, nil
	}
	if err := t.Root.MkdirAll(rel, 0o777); err != nil {
		return nil, nil, userErrorf("make the directory %s: %w", p, err)
	}
	root, err = t.Root.OpenRoot(rel)
	if err != nil {
		return nil, nil, userErrorf("open the directory %s: %w", p, err)
	}
	return root, func() { _ = root.Close() }, nil
}

func empty(root *os.Root) error {
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := root.RemoveAll(e.Name()); err != nil {
			return err
		}
	}
	return nil
}

// fetched is a blob in a temporary file, open at its beginning.
type fetched struct {
	*os.File
	size int64
}

func (f *fetched) discard() {
	f.Close()
	os.Remove(f.Name())
}

// fetch reads a blob to a file first, so that an outage in its middle only begins the transfer anew.
func (c *Call) fetch(ctx context.Context, digest string) (*fetched, error) {
	f, err := c.scratch("blob")
	if err != nil {
		return nil, err
	}
	err = c.get(ctx, digest, f, func() error { return errors.Join(f.Truncate(0), seek(f)) })
	out := &fetched{File: f}
	if err == nil {
		out.size, err = f.Seek(0, io.SeekEnd)
	}
	if err == nil {
		err = seek(f)
	}
	if err != nil {
		out.discard()
		return nil, fmt.Errorf("fetch %s: %w", digest, err)
	}
	return out, nil
}

func seek(f *os.File) error {
	_, err := f.Seek(0, io.SeekStart)
	return err
}

func (c *Call) scratch(name string) (*os.File, error) {
	f, err := os.CreateTemp(c.Scratch, name+"-*")
	if err != nil {
		return nil, fmt.Errorf("make a temporary file in %s: %w", filepath.Base(c.Scratch), err)
	}
	return f, nil
}
