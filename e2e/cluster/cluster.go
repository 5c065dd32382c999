// Package cluster runs a whole Slipway — coordinator, agent and a private containerd, as `slipway dev` starts them — in
// directories and on ports of its own, for tests and benchmarks that see it only from outside.
package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/slipway-ci/slipway/internal/cli/settings"
	"github.com/slipway-ci/slipway/sdk/client"
)

// Options of a cluster. The zero value finds everything by itself.
type Options struct {
	// Bin is the slipway binary; "" is $SLIPWAY_BIN, else bin/slipway of this repository.
	Bin string
	// Registry serves the images; "" is $SLIPWAY_TEST_REGISTRY, else 127.0.0.1:7430.
	Registry string
	// Runners maps further labels of `runs-on` onto images; ubuntu-latest and bench are there.
	Runners map[string]string
	// Pools maps labels of busybox jobs onto pools of agents; the cluster's agent is in the pool "default".
	Pools map[string]string
	// Policies of pools by name, as the configuration has them: `{isolation: untrusted}`.
	Policies map[string]string
	// Slots of the agent; 0 is its default.
	Slots int
	// Flags are further ones of `slipway dev`.
	Flags []string
}

// Cluster is one running Slipway.
type Cluster struct {
	Dir     string
	bin     string
	address string
	config  string
	ports   []string
	slots   int
	flags   []string
}

// ErrNotBuilt: there is no binary to test.
var ErrNotBuilt = errors.New("cluster: no slipway binary: run `make build` first, or set SLIPWAY_BIN")

// Start makes a cluster and returns when it is healthy.
func Start(ctx context.Context, o Options) (*Cluster, error) {
	bin, err := FindBinary(o.Bin)
	if err != nil {
		return nil, err
	}
	// Not t.TempDir(): unix sockets allow 107 bytes.
	dir, err := os.MkdirTemp("/tmp", "slw")
	if err != nil {
		return nil, err
	}
	c := &Cluster{Dir: dir, bin: bin, config: filepath.Join(dir, "coordinator.yaml"), slots: o.Slots, flags: o.Flags}
	if c.ports, err = freePorts(4); err != nil {
		return nil, err
	}
	c.address = c.ports[0]
	if err := os.WriteFile(c.config, []byte(configuration(o)), 0o600); err != nil {
		return nil, err
	}
	if err := c.Up(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func configuration(o Options) string {
	runners := map[string]string{"ubuntu-latest": "slipway/runner:12", "bench": "busybox:latest", "busybox": "busybox:latest"}
	for label, image := range o.Runners {
		runners[label] = image
	}
	var b strings.Builder
	b.WriteString("runners:\n")
	for label, image := range runners {
		fmt.Fprintf(&b, "  %s: {image: %q}\n", label, image)
	}
	for label, pool := range o.Pools {
		fmt.Fprintf(&b, "  %s: {image: \"busybox:latest\", pool: %q}\n", label, pool)
	}
	if len(o.Policies) > 0 {
		b.WriteString("pools:\n")
	}
	for pool, policy := range o.Policies {
		fmt.Fprintf(&b, "  %s: %s\n", pool, policy)
	}
	fmt.Fprintf(&b, "registries:\n  docker.io: {mirror: %q, plain_http: true}\n", Registry(o.Registry))
	return b.String()
}

// Up starts what does not run.
func (c *Cluster) Up(ctx context.Context) error {
	args := []string{"dev", "--detach", "--private-containerd", "--config", c.config, "--listen", c.ports[0], "--metrics", c.ports[1], "--agent-metrics", c.ports[2], "--web", c.ports[3]}
	if c.slots > 0 {
		args = append(args, "--slots", fmt.Sprint(c.slots))
	}
	res, err := c.Slipway(ctx, c.Dir, append(args, c.flags...)...)
	if err != nil {
		return err
	}
	if res.Code != 0 {
		return fmt.Errorf("cluster: slipway dev: exit code %d: %s", res.Code, res.Stderr)
	}
	return nil
}

// Close stops everything and removes the directories. It reports what was left running or mounted.
func (c *Cluster) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	res, err := c.Slipway(ctx, c.Dir, "dev", "--stop", "--listen", c.ports[0], "--private-containerd")
	if err == nil && res.Code != 0 {
		err = fmt.Errorf("cluster: slipway dev --stop: exit code %d: %s", res.Code, res.Stderr)
	}
	return errors.Join(err, c.leftovers(), os.RemoveAll(c.Dir))
}

// leftovers are mounts and processes that still name the cluster's directory.
func (c *Cluster) leftovers() error {
	var errs []error
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, c.Dir) {
			errs = append(errs, fmt.Errorf("cluster: mount left: %s", strings.TrimSpace(line)))
		}
	}
	cmdlines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return err
	}
	for _, path := range cmdlines {
		cmdline, err := os.ReadFile(path)
		if err == nil && bytes.Contains(cmdline, []byte(c.Dir)) {
			errs = append(errs, fmt.Errorf("cluster: process left: %s %s", filepath.Dir(path), bytes.ReplaceAll(cmdline, []byte{0}, []byte{' '})))
		}
	}
	return errors.Join(errs...)
}

// Result is how a command ended.
type Result struct {
	Stdout, Stderr string
	Code           int
}

// Command prepares the CLI in a directory, with the cluster's environment.
func (c *Cluster) Command(ctx context.Context, dir string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, c.bin, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+c.Dir+"/data", "XDG_STATE_HOME="+c.Dir+"/state",
		"XDG_RUNTIME_DIR="+c.Dir+"/run", "XDG_CONFIG_HOME="+c.Dir+"/config", "XDG_CACHE_HOME="+c.Dir+"/cache",
		"SLIPWAY_CONTEXT=", "SLIPWAY_ADDRESS=", "SLIPWAY_CA=", "SLIPWAY_TOKEN=")
	return cmd
}

// Slipway runs the CLI to its end. A nonzero exit code is no error.
func (c *Cluster) Slipway(ctx context.Context, dir string, args ...string) (Result, error) {
	var stdout, stderr bytes.Buffer
	cmd := c.Command(ctx, dir, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if exited := (*exec.ExitError)(nil); errors.As(err, &exited) && exited.Exited() {
		err = nil
	}
	if err != nil {
		return Result{}, fmt.Errorf("slipway %s: %w", strings.Join(args, " "), err)
	}
	return Result{Stdout: stdout.String(), Stderr: stderr.String(), Code: cmd.ProcessState.ExitCode()}, nil
}

// JSON runs the CLI with `-o json` and decodes what it prints.
func (c *Cluster) JSON(ctx context.Context, into any, args ...string) error {
	res, err := c.Slipway(ctx, c.Dir, append(args, "-o", "json")...)
	if err != nil {
		return err
	}
	if res.Code != 0 {
		return fmt.Errorf("slipway %s: exit code %d: %s", strings.Join(args, " "), res.Code, res.Stderr)
	}
	return json.Unmarshal([]byte(res.Stdout), into)
}

// PID of a process of the cluster: containerd, coordinator or agent; 0 when it does not run.
func (c *Cluster) PID(ctx context.Context, name string) (int, error) {
	var status struct {
		Processes []struct {
			Name string
			PID  int
		}
	}
	// Exit code 3 only says that something is not healthy, which is to be expected of a cluster under test.
	res, err := c.Slipway(ctx, c.Dir, "dev", "status", "--listen", c.ports[0], "--private-containerd", "-o", "json")
	if err != nil {
		return 0, err
	}
	if err := json.Unmarshal([]byte(res.Stdout), &status); err != nil {
		return 0, fmt.Errorf("slipway dev status: exit code %d: %s: %w", res.Code, res.Stderr, err)
	}
	for _, p := range status.Processes {
		if p.Name == name {
			return p.PID, nil
		}
	}
	return 0, fmt.Errorf("cluster: no process is named %q", name)
}

// Healthy returns nil if all processes run and an agent is online.
func (c *Cluster) Healthy(ctx context.Context) error {
	res, err := c.Slipway(ctx, c.Dir, "dev", "status", "--listen", c.ports[0], "--private-containerd")
	if err == nil && res.Code != 0 {
		err = fmt.Errorf("cluster: not healthy: %s", res.Stdout)
	}
	return err
}

// Kill ends a process of the cluster with KILL and returns the pid that it had. `slipway dev` starts it again.
func (c *Cluster) Kill(ctx context.Context, name string) (int, error) {
	pid, err := c.PID(ctx, name)
	if err != nil {
		return 0, err
	}
	if pid == 0 {
		return 0, fmt.Errorf("cluster: %s does not run", name)
	}
	return pid, syscall.Kill(pid, syscall.SIGKILL)
}

// Client returns an API client of the cluster.
func (c *Cluster) Client() (*client.Client, error) {
	dirs := settings.DirsFrom(func(name string) string {
		if name == "XDG_CONFIG_HOME" {
			return c.Dir + "/config"
		}
		return ""
	}, c.Dir, os.Geteuid())
	file, err := settings.Load(dirs.ContextFile())
	if err != nil {
		return nil, err
	}
	known, ok := file.Contexts[file.Current]
	if !ok {
		return nil, fmt.Errorf("cluster: %s names no current context", dirs.ContextFile())
	}
	var ca []byte
	if known.CA != "" {
		if ca, err = client.ReadCA(known.CA); err != nil {
			return nil, err
		}
	}
	return client.New(client.Config{Address: known.Address, CA: ca, Token: known.Token})
}

// Registry is the address of the registry that serves the images, host:port.
func Registry(address string) string {
	return first(address, os.Getenv("SLIPWAY_TEST_REGISTRY"), "127.0.0.1:7430")
}

// Usable says why no cluster can be made here, in words for who wonders that tests are skipped; nil if one can. Under `make test`, which has set
// everything up, nothing is skipped: it ends the process.
func Usable() error {
	err := usable()
	if err != nil && os.Getenv("SLIPWAY_TEST_ALL") != "" {
		fmt.Fprintln(os.Stderr, "no cluster can be made, and SLIPWAY_TEST_ALL forbids to skip the tests that need one:", err)
		os.Exit(1)
	}
	return err
}

func usable() error {
	if os.Geteuid() != 0 {
		return errors.New("containers need root")
	}
	if _, err := FindBinary(""); err != nil {
		return err
	}
	registry := Registry("")
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+registry+"/v2/", nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("no image registry answers at %s (`make images` starts one): %w", registry, err)
	}
	return res.Body.Close()
}

// FindBinary returns the absolute path of the slipway binary to test; ErrNotBuilt if there is none.
func FindBinary(bin string) (string, error) {
	bin = first(bin, os.Getenv("SLIPWAY_BIN"))
	if bin == "" {
		dir, err := os.Getwd()
		for err == nil {
			if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
				break
			}
			if dir == filepath.Dir(dir) {
				return "", ErrNotBuilt
			}
			dir = filepath.Dir(dir)
		}
		bin = filepath.Join(dir, "bin", "slipway")
	}
	// Also so that `go test` knows that a result is of this binary and not of the next.
	if _, err := os.Stat(bin); err != nil {
		return "", fmt.Errorf("%w: %w", ErrNotBuilt, err)
	}
	return filepath.Abs(bin)
}

// freePorts finds loopback addresses that nobody listens on at the moment.
func freePorts(n int) ([]string, error) {
	var listeners []net.Listener
	defer func() {
		for _, l := range listeners {
			_ = l.Close()
		}
	}()
	var addresses []string
	for range n {
		l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		listeners = append(listeners, l)
		addresses = append(addresses, l.Addr().String())
	}
	return addresses, nil
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
