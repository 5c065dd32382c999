package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// A recipe says what an image is called and how a container of it is started.
type recipe struct {
	// Repository is the name in the registry, without the host: library/debian.
	Repository string `json:"repository"`
	// Tags are moved to the image once it is pushed.
	Tags []string `json:"tags"`
	// Config is the OCI image configuration's "config" object; nothing is inherited from a base image.
	Config v1.Config `json:"config"`
}

// readRecipe reads and checks a recipe file. An unknown key is an error.
func readRecipe(path string) (recipe, error) {
	var r recipe
	if path == "" {
		return r, errors.New("no recipe: pass -recipe FILE")
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return r, fmt.Errorf("read recipe: %w", err)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&r); err != nil {
		return r, fmt.Errorf("recipe %s: %w", path, err)
	}
	if r.Repository == "" || len(r.Tags) == 0 {
		return r, fmt.Errorf("recipe %s: needs a repository and at least one tag", path)
	}
	return r, nil
}
