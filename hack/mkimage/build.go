package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// epoch is the creation time of every image and the upper limit of the modification times in it, so that the
// same packages give the same digest. It equals SOURCE_DATE_EPOCH in scripts/lib/rootfs.sh.
var epoch = time.Unix(1735689600, 0).UTC()

// recipeLabel names, on the image, the hash that it was made from.
const recipeLabel = "io.slipway.recipe"

// A build is one image to make and push.
type build struct {
	recipe   recipe
	registry string
	key      string
	base     string
	rootfs   string
	layers   paths
}

// push makes the image, unless the registry holds it under its key, and moves the recipe's tags to it. It
// returns a line that says what the image is.
func (b *build) push(ctx context.Context) (string, error) {
	if b.registry == "" || b.key == "" {
		return "", errors.New("pass -registry HOST:PORT and -key HASH")
	}
	keyed, err := b.reference("recipe-" + b.key)
	if err != nil {
		return "", err
	}
	verb := "kept"
	image, err := remote.Image(keyed, remote.WithContext(ctx))
	if isNotFound(err) {
		verb = "pushed"
		image, err = b.makeAndPush(ctx, keyed)
	}
	if err != nil {
		return "", err
	}
	for _, tag := range b.recipe.Tags {
		ref, err := b.reference(tag)
		if err != nil {
			return "", err
		}
		if err := remote.Tag(ref, image, remote.WithContext(ctx)); err != nil {
			return "", fmt.Errorf("tag %s: %w", ref, err)
		}
	}
	return b.describe(verb, image)
}

func (b *build) makeAndPush(ctx context.Context, keyed name.Tag) (v1.Image, error) {
	scratch, err := os.MkdirTemp("", "mkimage-")
	if err != nil {
		return nil, fmt.Errorf("make a scratch folder: %w", err)
	}
	defer os.RemoveAll(scratch)
	image, err := b.makeImage(ctx, scratch)
	if err != nil {
		return nil, err
	}
	if err := remote.Write(keyed, image, remote.WithContext(ctx)); err != nil {
		return nil, fmt.Errorf("push %s: %w", keyed, err)
	}
	return image, nil
}

// makeImage puts the layers together; their tar files are kept in scratch until they are pushed.
func (b *build) makeImage(ctx context.Context, scratch string) (v1.Image, error) {
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	lower := tree{}
	if b.base != "" {
		ref, err := name.NewTag(b.registry+"/"+b.base, name.Insecure)
		if err != nil {
			return nil, fmt.Errorf("base image: %w", err)
		}
		if image, err = remote.Image(ref, remote.WithContext(ctx)); err != nil {
			return nil, fmt.Errorf("base image %s: %w", ref, err)
		}
		if lower, err = imageTree(image); err != nil {
			return nil, fmt.Errorf("base image %s: %w", ref, err)
		}
	}
	var layers []v1.Layer
	if b.rootfs != "" {
		layer, err := rootfsLayer(b.rootfs, lower, filepath.Join(scratch, "rootfs.tar"))
		if err != nil {
			return nil, fmt.Errorf("root file system %s: %w", b.rootfs, err)
		}
		layers = append(layers, layer)
	}
	for i, dir := range b.layers {
		layer, err := directoryLayer(dir, filepath.Join(scratch, fmt.Sprintf("layer-%d.tar", i)))
		if err != nil {
			return nil, fmt.Errorf("layer %s: %w", dir, err)
		}
		layers = append(layers, layer)
	}
	image, err := mutate.AppendLayers(image, layers...)
	if err != nil {
		return nil, fmt.Errorf("append layers: %w", err)
	}
	return b.configure(image)
}

// configure replaces the image's configuration by the recipe's.
func (b *build) configure(image v1.Image) (v1.Image, error) {
	file, err := image.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("image configuration: %w", err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture = "linux", runtime.GOARCH
	file.Created = v1.Time{Time: epoch}
	file.Config = *b.recipe.Config.DeepCopy()
	if file.Config.Labels == nil {
		file.Config.Labels = map[string]string{}
	}
	file.Config.Labels[recipeLabel] = b.key
	file.History = nil
	image, err = mutate.ConfigFile(image, file)
	if err != nil {
		return nil, fmt.Errorf("image configuration: %w", err)
	}
	return image, nil
}

func (b *build) reference(tag string) (name.Tag, error) {
	ref, err := name.NewTag(b.registry+"/"+b.recipe.Repository+":"+tag, name.StrictValidation)
	if err != nil {
		return name.Tag{}, fmt.Errorf("image name: %w", err)
	}
	return ref, nil
}

func (b *build) describe(verb string, image v1.Image) (string, error) {
	manifest, err := image.Manifest()
	if err != nil {
		return "", fmt.Errorf("image manifest: %w", err)
	}
	digest, err := image.Digest()
	if err != nil {
		return "", fmt.Errorf("image digest: %w", err)
	}
	var size int64
	for _, layer := range manifest.Layers {
		size += layer.Size
	}
	return fmt.Sprintf("%s %s:%s, %d layers, %.1f MB compressed, %s", verb, b.recipe.Repository, b.recipe.Tags[0],
		len(manifest.Layers), float64(size)/1e6, digest), nil
}

func isNotFound(err error) bool {
	var answer *transport.Error
	return errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound
}
