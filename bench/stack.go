package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/slipway-ci/slipway/e2e/cluster"
	"github.com/slipway-ci/slipway/sdk/client"
)

// stack is the Slipway that is measured, and what the raw tools need to do the same work on the same containerd.
type stack struct {
	cluster    *cluster.Cluster
	client     *client.Client
	containerd string
	image      string
	scale      float64
	// warm is a second one, see warmStack.
	warm *stack
}

func newStack(ctx context.Context, scale float64) (*stack, error) {
	c, err := cluster.Start(ctx, cluster.Options{Slots: parallelism, Flags: []string{"--warm-pods=0"}})
	if err != nil {
		return nil, err
	}
	s := &stack{cluster: c, scale: scale}
	if err := s.prepare(ctx); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *stack) prepare(ctx context.Context) (err error) {
	if s.client, err = s.cluster.Client(); err != nil {
		return err
	}
	if s.containerd, err = findSocket(s.cluster.Dir); err != nil {
		return err
	}
	registry := os.Getenv("SLIPWAY_TEST_REGISTRY")
	if registry == "" {
		registry = "127.0.0.1:7430"
	}
	s.image = registry + "/library/busybox:latest"
	out, err := exec.CommandContext(ctx, "ctr", "--address", s.containerd, "--namespace", "bench", "images", "pull", "--plain-http", s.image).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ctr images pull %s: %w: %s", s.image, err, out)
	}
	return nil
}

// findSocket finds the private containerd's socket beneath the cluster's directory.
func findSocket(dir string) (string, error) {
	var socket string
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // What can't be read is not the socket.
		}
		if d.Type()&os.ModeSocket != 0 && strings.HasSuffix(path, "containerd.sock") {
			socket = path
			return filepath.SkipAll
		}
		return nil
	})
	if err == nil && socket == "" {
		err = fmt.Errorf("no containerd socket beneath %s", dir)
	}
	return socket, err
}

func (s *stack) close() error {
	var err error
	if s.warm != nil {
		err = s.warm.close()
	}
	if s.client != nil {
		_ = s.client.Close()
	}
	return errors.Join(err, s.cluster.Close())
}

// rounds scales a benchmark's number of rounds; at least one.
func (s *stack) rounds(n int) int { return max(1, int(math.Round(float64(n)*s.scale))) }
