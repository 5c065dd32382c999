// Package testimage makes tiny container images for tests, from Debian's static busybox, and serves them from a registry
// in this process, on loopback.
package testimage

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// ErrNoBusybox: the host has no static busybox.
var ErrNoBusybox = errors.New("no static busybox: apt install busybox-static")

// Busybox is where Debian installs it.
const Busybox = "/bin/busybox"

// applets are linked in the image's /bin.
var applets = []string{
	"sh", "cat", "echo", "sleep", "true", "false", "env", "id", "pwd", "ls", "mkdir", "rm", "touch", "kill", "ps", "wc", "seq",
	"head", "tail", "tr", "grep", "sed", "cut", "dd", "sha256sum", "nc", "wget", "httpd", "nslookup", "ping", "ip", "stat",
	"setsid", "timeout", "mount", "umount", "hostname", "chmod", "chown", "ln", "test", "yes", "sort", "printf", "date", "readlink",
}

// Image is what to put into one.
type Image struct {
	// Config is merged as it is: Entrypoint, Cmd, Env, User, WorkingDir, Healthcheck.
	Config v1.Config
	// Files by path, mode 0755.
	Files map[string]string
}

// Registry serves images on loopback.
type Registry struct {
	server *httptest.Server
}

// NewRegistry starts one that ends with the test.
func NewRegistry(t testing.TB) *Registry {
	t.Helper()
	r := &Registry{server: httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))}
	t.Cleanup(r.server.Close)
	return r
}

// Host is its address and port, to be spoken to in plain http.
func (r *Registry) Host() string { return strings.TrimPrefix(r.server.URL, "http://") }

// Push builds an image, pushes it as repository and returns its reference by digest.
func (r *Registry) Push(t testing.TB, repository string, img Image) string {
	t.Helper()
	built, err := Build(img)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(r.Host()+"/"+repository+":latest", name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, built); err != nil {
		t.Fatalf("pushing %s: %v", ref, err)
	}
	digest, err := built.Digest()
	if err != nil {
		t.Fatal(err)
	}
	return ref.Context().Digest(digest.String()).String()
}

// Build makes an image of one layer: busybox with its applets, a minimal /etc, a world-writable /tmp, and the files.
func Build(img Image) (v1.Image, error) {
	layer, err := layerOf(img.Files)
	if err != nil {
		return nil, err
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer)), nil })
	if err != nil {
		return nil, fmt.Errorf("building a layer: %w", err)
	}
	built, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		return nil, fmt.Errorf("building an image: %w", err)
	}
	file, err := built.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("building an image: %w", err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", "amd64"
	file.Config = img.Config
	if len(file.Config.Env) == 0 {
		file.Config.Env = []string{"PATH=/bin", "FROM_IMAGE=yes"}
	}
	return mutate.ConfigFile(built, file)
}

func layerOf(files map[string]string) ([]byte, error) {
	busybox, err := os.ReadFile(Busybox)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoBusybox, err)
	}
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	var errs []error
	add := func(h tar.Header, content []byte) {
		h.Size = int64(len(content))
		if err := w.WriteHeader(&h); err != nil {
			errs = append(errs, err)
			return
		}
		_, err := w.Write(content)
		errs = append(errs, err)
	}
	for _, dir := range []string{"bin/", "etc/", "root/", "home/", "home/tester/", "proc/", "sys/", "dev/", "var/"} {
		add(tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755}, nil)
	}
	add(tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777}, nil)
	add(tar.Header{Typeflag: tar.TypeReg, Name: "bin/busybox", Mode: 0o755}, busybox)
	for _, applet := range applets {
		add(tar.Header{Typeflag: tar.TypeSymlink, Name: "bin/" + applet, Linkname: "busybox"}, nil)
	}
	all := map[string]string{
		"etc/passwd": "root:x:0:0:root:/root:/bin/sh\ntester:x:1000:1000::/home/tester:/bin/sh\n",
		"etc/group":  "root:x:0:\ntester:x:1000:\nextra:x:2000:tester\n",
	}
	maps.Copy(all, files)
	for _, path := range slices.Sorted(maps.Keys(all)) {
		add(tar.Header{Typeflag: tar.TypeReg, Name: strings.TrimPrefix(path, "/"), Mode: 0o755}, []byte(all[path]))
	}
	if err := errors.Join(append(errs, w.Close())...); err != nil {
		return nil, fmt.Errorf("building a layer: %w", err)
	}
	return buf.Bytes(), nil
}
