package main

import (
	"archive/tar"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
)

// A print is what makes two entries of a file system the same for an image. Times are left out: a file that
// differs from the base image's only in its time is not worth a copy.
type print struct {
	kind     byte
	mode     int64
	uid, gid int
	link     string
	xattrs   string
	content  [sha256.Size]byte // of a hard link: its target's
}

// A tree maps a clean path without a leading slash to its entry's print.
type tree map[string]print

// imageTree reads the file system that the image's layers make together.
func imageTree(image v1.Image) (tree, error) {
	files := mutate.Extract(image)
	defer files.Close()
	return readTree(files)
}

// readTree reads a tar stream. A path that occurs twice counts as its last entry, as when it is unpacked.
func readTree(stream io.Reader) (tree, error) {
	t := tree{}
	err := eachEntry(stream, func(header *tar.Header, content io.Reader) error {
		p, err := printOf(header, content)
		if header.Typeflag == tar.TypeLink {
			p.content = t[header.Linkname].content
		}
		t[header.Name] = p
		return err
	})
	return t, err
}

func printOf(header *tar.Header, content io.Reader) (print, error) {
	p := print{kind: header.Typeflag, mode: header.Mode, uid: header.Uid, gid: header.Gid, link: header.Linkname}
	p.xattrs = xattrsOf(header)
	if header.Typeflag == tar.TypeReg {
		sum := sha256.New()
		if _, err := io.Copy(sum, content); err != nil {
			return p, fmt.Errorf("read %s: %w", header.Name, err)
		}
		sum.Sum(p.content[:0])
	}
	return p, nil
}

// xattrsOf gives the entry's extended attributes, such as file capabilities, as one comparable text.
func xattrsOf(header *tar.Header) string {
	var text strings.Builder
	for _, key := range slices.Sorted(maps.Keys(header.PAXRecords)) {
		if strings.HasPrefix(key, "SCHILY.xattr.") {
			fmt.Fprintf(&text, "%q=%q;", key, header.PAXRecords[key])
		}
	}
	return text.String()
}

// eachEntry calls visit for every entry that belongs into an image, with its path made clean. Devices, and
// whatever else lies in /dev, do not: a container's runtime makes them.
func eachEntry(stream io.Reader, visit func(*tar.Header, io.Reader) error) error {
	reader := tar.NewReader(stream)
	for {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read tar: %w", err)
		}
		header.Name = cleanPath(header.Name)
		if header.Typeflag == tar.TypeLink {
			header.Linkname = cleanPath(header.Linkname)
		}
		if header.Name == "" || strings.HasPrefix(header.Name, "dev/") {
			continue
		}
		switch header.Typeflag {
		case tar.TypeReg, tar.TypeDir, tar.TypeSymlink, tar.TypeLink:
			if err := visit(header, reader); err != nil {
				return err
			}
		case tar.TypeChar, tar.TypeBlock, tar.TypeFifo:
		default:
			return fmt.Errorf("%s: tar entry of type %q is not supported in an image", header.Name, header.Typeflag)
		}
	}
}

// cleanPath gives the one spelling of a path in an image: no leading or trailing slash, empty for the root.
func cleanPath(p string) string {
	return strings.TrimPrefix(path.Clean("/"+p), "/")
}
