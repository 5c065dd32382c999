package runner

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/agent/commands"
	"github.com/slipway-ci/slipway/agent/sandbox"
)

// maxProbe is how much of what the agent's own commands print is read.
const maxProbe = 64 << 10

// withPath puts what GITHUB_PATH gathered in front of PATH. Each image's own PATH is asked for once; image is a step's, "" the job's.
func (t *Attempt) withPath(ctx context.Context, image string, env []commands.Pair) ([]commands.Pair, error) {
	if len(t.values.paths) == 0 {
		return env, nil
	}
	own, asked := t.values.podPaths[image]
	if !asked {
		out, code, err := t.probeIn(ctx, image, nil, "/bin/sh", "-c", `printf %s "$PATH"`)
		if err != nil {
			return nil, fmt.Errorf("ask the image for its PATH: %w", err)
		}
		if code == 0 {
			own = strings.TrimSpace(out)
			if t.values.podPaths == nil {
				t.values.podPaths = map[string]string{}
			}
			t.values.podPaths[image] = own
		}
	}
	return withPath(env, t.values.paths, own), nil
}

// probe runs a small command of the agent's own in the job's container, between steps.
func (t *Attempt) probe(ctx context.Context, env []string, argv ...string) (output string, code int, err error) {
	return t.probeIn(ctx, "", env, argv...)
}

// probeIn runs one in the container of a step's image.
func (t *Attempt) probeIn(ctx context.Context, image string, env []string, argv ...string) (output string, code int, err error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	id := "probe-" + strings.ToLower(rand.Text()[:12])
	file := filepath.Join(t.dirs.Logs, id)
	defer os.Remove(file)
	spec := sandbox.StepSpec{ID: id, Argv: argv, Env: env, Dir: "/", Output: file, Timeout: probeTimeout, Grace: time.Second, Image: image}
	if err := t.pod.Start(ctx, spec); err != nil {
		return "", 0, err
	}
	exit, err := t.pod.Wait(ctx, id)
	if err != nil {
		return "", 0, err
	}
	f, err := os.Open(file)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxProbe))
	return string(data), exit.Code, err
}
