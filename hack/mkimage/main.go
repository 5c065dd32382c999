// Command mkimage makes an OCI image from a root file system and pushes it to a registry.
//
// It exists so that the images that the examples and tests need can be made from the host's own package
// sources, where no public registry can be reached. It is a tool of this repository, not a part of Slipway.
//
//	mkimage -registry 127.0.0.1:7430 -recipe image.json -key HASH [-base REPO:TAG] [-rootfs FILE] [-layer DIR]...
//
// The recipe names the repository, its tags and the image's configuration. The key is a hash of everything that
// the image is made of; an image that the registry already holds under the tag recipe-KEY is only tagged, not
// made. With -base, the base image's layers are shared and the root file system becomes one layer that holds the
// differences from it. Each -layer is a directory that becomes one more layer, owned by root.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "mkimage: error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	var job build
	var recipePath string
	flags := flag.NewFlagSet("mkimage", flag.ContinueOnError)
	flags.StringVar(&job.registry, "registry", "", "`host:port` of the registry; plain http if it is on loopback")
	flags.StringVar(&recipePath, "recipe", "", "the recipe, a JSON `file`")
	flags.StringVar(&job.key, "key", "", "`hash` of everything that the image is made of")
	flags.StringVar(&job.base, "base", "", "`repository:tag` in the same registry to build upon")
	flags.StringVar(&job.rootfs, "rootfs", "", "root file system, a tar `file`")
	flags.Var(&job.layers, "layer", "`directory` that becomes a layer; may be repeated")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q: every input has a flag", flags.Arg(0))
	}
	recipe, err := readRecipe(recipePath)
	if err != nil {
		return err
	}
	job.recipe = recipe
	result, err := job.push(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", recipe.Repository, err)
	}
	fmt.Println(result)
	return nil
}

// paths is a flag that may be given several times.
type paths []string

// String shows the paths, for the flag package.
func (p *paths) String() string { return fmt.Sprint([]string(*p)) }

// Set adds one path.
func (p *paths) Set(value string) error {
	*p = append(*p, value)
	return nil
}
