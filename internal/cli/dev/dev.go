// Package dev is `slipway dev`: a coordinator, an agent and, where no containerd runs, a private one, on this machine,
// as processes that survive each other and their supervisor. It makes identities by itself; there is no insecure mode.
//
//	containerd ─► coordinator ─► agent      starting: each when the one before is ready
//	     │             ├─ CA, administrator's token ──► the CLI's context file
//	     │             └─ join token ──► agent
//	     └─ socket ──► agent
package dev

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/slipway-ci/slipway/internal/cli/agentconf"
	"github.com/slipway-ci/slipway/internal/cli/settings"
	"github.com/slipway-ci/slipway/internal/devstack"
	"github.com/slipway-ci/slipway/sdk/client"
)

// ContextName is what `slipway dev` calls its coordinator in the context file.
const ContextName = "dev"

// Containerd is a private containerd.
type Containerd interface {
	// Alive says whether it runs.
	Alive() bool
	// Start finds or starts it and returns its pid once it answers.
	Start(ctx context.Context) (pid int, err error)
	Socket() string
	LogFile() string
	// Available says why this host can't run one.
	Available() error
}

// Config of a dev stack.
type Config struct {
	Dirs settings.Dirs
	// Exe is the slipway binary.
	Exe string
	// Coordinator is a configuration file to take over; "" keeps the one of before, or the defaults.
	Coordinator string
	// Listen, Metrics, Web and AgentMetrics are addresses, host:port; Web may be "".
	Listen, Metrics, Web, AgentMetrics string
	Slots                              int
	// WarmPods wait ready for each kind of job that came lately.
	WarmPods int
	// PrivateContainerd never uses the host's.
	PrivateContainerd bool
	Private           Containerd
	// Mirrors returns the registries of a coordinator's configuration that speak plain http, host:port; it checks the file too.
	Mirrors func(file string) ([]string, error)
	// Files of the coordinator's data directory.
	CAFile, AdminTokenFile string
	// Sweep removes every pod of the agent's sandbox and what they shared.
	Sweep  func(ctx context.Context, c agentconf.Config) error
	Getenv func(string) string
	Log    *slog.Logger
}

// Dev is one machine's stack.
type Dev struct {
	cfg   Config
	stack *devstack.Stack
	// socket is containerd's; private says whose.
	socket  string
	private bool
	// agentSince is when the agent's process was started, in Unix milliseconds; 0 if it was found running.
	agentSince atomic.Int64
}

// New looks at the machine; it changes nothing.
func New(cfg Config) (*Dev, error) {
	if err := cfg.checkAddresses(); err != nil {
		return nil, err
	}
	d := &Dev{cfg: cfg}
	d.socket, d.private = cfg.Private.Socket(), true
	// What runs already is kept, so that pods are found again; else the host's, if it has one.
	if !cfg.PrivateContainerd && !cfg.Private.Alive() && answers(agentconf.DefaultSocket) {
		d.socket, d.private = agentconf.DefaultSocket, false
	}
	for _, p := range []string{d.coordinatorConfig(), d.agentConfig(), d.joinTokenFile()} {
		if !filepath.IsAbs(p) {
			return nil, fmt.Errorf("dev: directory of %s is not absolute", p)
		}
	}
	d.stack = &devstack.Stack{Dir: filepath.Join(cfg.Dirs.Runtime, "dev"), Log: cfg.Log}
	if err := d.processes(); err != nil {
		return nil, err
	}
	return d, nil
}

// checkAddresses finds what no process could listen on before one that works is replaced.
func (c Config) checkAddresses() error {
	var errs []error
	for _, a := range []struct{ flag, address string }{{"listen", c.Listen}, {"metrics", c.Metrics}, {"web", c.Web}, {"agent-metrics", c.AgentMetrics}} {
		if _, _, err := net.SplitHostPort(a.address); err != nil && (a.address != "" || a.flag == "listen") {
			errs = append(errs, fmt.Errorf("--%s %q: want host:port, as in 127.0.0.1:7420", a.flag, a.address))
		}
	}
	return errors.Join(errs...)
}

func answers(socket string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	c, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}

func (d *Dev) coordinatorData() string { return filepath.Join(d.cfg.Dirs.Data, "coordinator") }
func (d *Dev) agentData() string       { return filepath.Join(d.cfg.Dirs.Data, "agent") }
func (d *Dev) coordinatorConfig() string {
	return filepath.Join(d.cfg.Dirs.Data, "dev", "coordinator.yaml")
}

// secretsKey lies apart from what it seals.
func (d *Dev) secretsKey() string    { return filepath.Join(d.cfg.Dirs.Data, "dev", "secrets.key") }
func (d *Dev) agentConfig() string   { return filepath.Join(d.cfg.Dirs.Data, "dev", "agent.yaml") }
func (d *Dev) joinTokenFile() string { return filepath.Join(d.cfg.Dirs.Runtime, "dev", "join.token") }
func (d *Dev) caFile() string        { return filepath.Join(d.coordinatorData(), d.cfg.CAFile) }
func (d *Dev) logFile(name string) string {
	return filepath.Join(d.cfg.Dirs.State, name+".log")
}

// LogFile is where a detached supervisor writes.
func (d *Dev) LogFile() string { return d.logFile("dev") }

// processes fills the stack. The fingerprints make a changed configuration restart what reads it.
func (d *Dev) processes() error {
	conf, err := d.wantedConfig()
	if err != nil {
		return err
	}
	agent, err := d.wantedAgent()
	if err != nil {
		return err
	}
	var all []devstack.Process
	if d.private {
		all = append(all, devstack.Process{
			Name: "containerd", Log: d.cfg.Private.LogFile(), Launch: d.cfg.Private.Start, Grace: 20 * time.Second,
		})
	}
	d.stack.Processes = append(all,
		devstack.Process{
			Name: "coordinator", Log: d.logFile("coordinator"), Fingerprint: fingerprint(append(conf, d.telemetry()...)), Grace: 20 * time.Second,
			Argv: []string{d.cfg.Exe, "coordinator", "--config", d.coordinatorConfig(), "--data", d.coordinatorData(), "--listen", d.cfg.Listen, "--metrics", d.cfg.Metrics,
				"--web", d.cfg.Web, "--secrets-key", d.secretsKey()},
			Ready: func(ctx context.Context) error {
				_, err := d.agents(ctx, 0)
				return err
			},
		},
		devstack.Process{
			Name: "agent", Log: d.logFile("agent"), Fingerprint: fingerprint(append(agent, d.telemetry()...)), Grace: 20 * time.Second, Stop: agentHandover,
			Argv:    []string{d.cfg.Exe, "agent", "--config", d.agentConfig()},
			Prepare: d.prepareAgent, Ready: d.agentReady,
		})
	return nil
}

// agentHandover makes an agent leave at once, and its jobs to the next one; TERM would make it wait for them.
const agentHandover = unix.SIGUSR1

// telemetryVars are what the processes read of the environment: where their spans go.
var telemetryVars = []string{
	"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
	"OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_TRACES_EXPORTER", "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG",
	"OTEL_SDK_DISABLED", "OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES",
}

// telemetry is that part of the environment; empty if nothing of it is set.
func (d *Dev) telemetry() []byte {
	var b []byte
	for _, name := range telemetryVars {
		if value := d.cfg.Getenv(name); value != "" {
			b = append(b, "\n"+name+"="+value...)
		}
	}
	return b
}

func fingerprint(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Run supervises until ctx ends, then stops everything in reverse order, unless leave says that it stays running.
// ErrRunning of devstack if it is supervised already.
func (d *Dev) Run(ctx context.Context, leave func() bool, ready func()) error {
	if os.Geteuid() != 0 {
		return errors.New("slipway dev needs root: containers, network namespaces and control groups are made by root")
	}
	if d.private {
		if err := d.cfg.Private.Available(); err != nil {
			return fmt.Errorf("slipway dev needs containerd, and none runs on this machine: %w", err)
		}
	}
	if err := d.writeFiles(); err != nil {
		return err
	}
	d.stack.OnReady = func() {
		if err := d.writeContext(); err != nil {
			d.cfg.Log.Error("the CLI's context file could not be written", "err", err)
		}
		ready()
	}
	return d.stack.Run(ctx, leave)
}

// Healthy returns nil if an agent is online, else what is missing.
func (d *Dev) Healthy(ctx context.Context) error { return d.agentReady(ctx) }

func (d *Dev) client() (*client.Client, error) {
	ca, err := client.ReadCA(d.caFile())
	if err != nil {
		return nil, err
	}
	token, err := os.ReadFile(filepath.Join(d.coordinatorData(), d.cfg.AdminTokenFile))
	if err != nil {
		return nil, err
	}
	return client.New(client.Config{Address: d.cfg.Listen, CA: ca, Token: strings.TrimSpace(string(token)), UserAgent: "slipway-dev",
		FirstPatience: time.Millisecond, Patience: time.Millisecond})
}

// agents asks the coordinator which are online in a session that began then or later; an error says that it is not ready.
func (d *Dev) agents(ctx context.Context, sinceMS int64) (online []string, err error) {
	c, err := d.client()
	if err != nil {
		return nil, err
	}
	defer c.Release()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	all, err := c.Agents(ctx)
	for _, a := range all {
		if a.GetState() == "online" && a.GetSessionSinceMs() >= sinceMS {
			online = append(online, a.GetId())
		}
	}
	return online, err
}

func (d *Dev) agentReady(ctx context.Context) error {
	online, err := d.agents(ctx, d.agentSince.Load())
	if err == nil && len(online) == 0 {
		err = errors.New("no agent is online yet")
	}
	return err
}
