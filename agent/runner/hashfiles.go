package runner

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strings"

	"github.com/slipway-ci/slipway/agent/glob"
	"github.com/slipway-ci/slipway/agent/workspace"
	"github.com/slipway-ci/slipway/pipeline/expr"
)

// hashFiles is the SHA-256 over the SHA-256 of each file that matches, in the workspace only; empty where nothing matches.
func (t *Attempt) hashFiles(args []expr.Value) (expr.Value, error) {
	if len(args) == 0 {
		return expr.Value{}, fmt.Errorf("hashFiles needs a pattern")
	}
	var lines []string
	for _, a := range args {
		text := a.Text()
		// GitHub's own flag; links to directories are not followed either way.
		if text == "--follow-symbolic-links" {
			continue
		}
		lines = append(lines, strings.Split(text, "\n")...)
	}
	set := glob.Compile(lines, t.paths.Workspace, t.paths.Home)
	files, err := set.Find(t.trees[:1], glob.Options{Hidden: true, OnlyInside: true})
	if err != nil {
		return expr.Value{}, fmt.Errorf("hashFiles: %w", err)
	}
	if len(files) == 0 {
		return expr.String(""), nil
	}
	all := sha256.New()
	for _, f := range files {
		sum, err := t.hashFile(f)
		if err != nil {
			return expr.Value{}, fmt.Errorf("hashFiles: %w", err)
		}
		all.Write(sum)
	}
	return expr.String(hex.EncodeToString(all.Sum(nil))), nil
}

func (t *Attempt) hashFile(abs string) ([]byte, error) {
	rel, _ := t.trees[0].Rel(abs)
	f, _, err := workspace.OpenRegular(t.trees[0].Root, rel)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return nil, err
	}
	return h.Sum(nil), nil
}
