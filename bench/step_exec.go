package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/agent/sandbox/containerd"
	"github.com/slipway-ci/slipway/agent/sandbox/network"
	"github.com/slipway-ci/slipway/agent/workspace"
	"github.com/slipway-ci/slipway/bench/measure"
)

// stepExec is one step through the supervisor, start to known end, against fork/exec on the host.
func stepExec(ctx context.Context, s *stack) (results []measure.Result, err error) {
	image, err := s.imageByDigest(ctx)
	if err != nil {
		return nil, err
	}
	host, _, _ := strings.Cut(image, "/")
	dir := filepath.Join(s.cluster.Dir, "step-exec")
	runDir, _ := workspace.RunDir(dir)
	defer func() { _ = os.RemoveAll(runDir) }()
	sb, err := containerd.New(ctx, containerd.Config{
		Socket: s.containerd, Namespace: "bench-step", Dir: dir, StepsDir: filepath.Join(runDir, "steps"), CgroupParent: "/slipway-bench-step",
		Registries: map[string]containerd.Registry{host: {PlainHTTP: true}},
		Network:    network.Config{Bridge: "slwbench", Subnet: "10.89.0.0/24"},
		Log:        slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, sb.Close(), sb.Uninstall(context.WithoutCancel(ctx))) }()
	pod, err := sb.Create(ctx, sandbox.PodSpec{ID: "bench-step", Image: image}, nil)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, sb.Remove(context.WithoutCancel(ctx), pod.ID())) }()
	n := 0
	step := func() (time.Duration, error) {
		n++
		id := fmt.Sprintf("s%d", n)
		start := time.Now()
		if err := pod.Start(ctx, sandbox.StepSpec{ID: id, Argv: []string{"/bin/true"}, Output: filepath.Join(dir, "output")}); err != nil {
			return 0, err
		}
		exit, err := pod.Wait(ctx, id)
		if err == nil && exit.Code != 0 {
			err = fmt.Errorf("step ended with %d: %s", exit.Code, exit.Message)
		}
		return time.Since(start), err
	}
	samples, err := measure.Interleave(10, s.rounds(300), step, func() (time.Duration, error) { return forkExec(ctx) })
	if err != nil {
		return nil, err
	}
	return []measure.Result{measure.Compare("step.exec", "ms", measure.Lower, samples[0], samples[1], "fork/exec of /bin/true")}, nil
}

// imageByDigest is the stack's image as the daemon that pulled it knows it.
func (s *stack) imageByDigest(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, "ctr", "--address", s.containerd, "--namespace", "bench", "images", "ls", "name=="+s.image).Output()
	if err != nil {
		return "", fmt.Errorf("ctr images ls: %w", err)
	}
	for _, field := range strings.Fields(string(out)) {
		if strings.HasPrefix(field, "sha256:") {
			return strings.TrimSuffix(s.image, ":latest") + "@" + field, nil
		}
	}
	return "", fmt.Errorf("ctr images ls shows no digest of %s: %s", s.image, strings.TrimSpace(string(out)))
}
