package main

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"
	"go.opentelemetry.io/otel/trace"

	"github.com/slipway-ci/slipway/agent"
	"github.com/slipway-ci/slipway/agent/sandbox"
	"github.com/slipway-ci/slipway/agent/sandbox/containerd"
	"github.com/slipway-ci/slipway/agent/sandbox/network"
	"github.com/slipway-ci/slipway/agent/sandbox/process"
	"github.com/slipway-ci/slipway/agent/workspace"
	"github.com/slipway-ci/slipway/internal/cli/agentconf"
	"github.com/slipway-ci/slipway/internal/cli/exit"
	"github.com/slipway-ci/slipway/internal/idlemem"
	"github.com/slipway-ci/slipway/internal/version"
)

func (a *app) agentCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Run an agent on this host",
		Long: "Run an agent on this host, with containerd and as root, or with `--sandbox process`: then without containers, and without isolation. " +
			"It joins with a token of `slipway agents join-token`.",
		Args: cobra.NoArgs,
	}
	f := cmd.Flags()
	file := f.String("config", "", "configuration file (YAML); flags win over it")
	var c agentconf.Config
	f.StringVar(&c.Coordinator, "coordinator", "", "coordinator, host:port")
	f.StringVar(&c.TokenFile, "token-file", "", "file with a join token, for the first start")
	f.StringVar(&c.CA, "ca", "", "file with the coordinator's CA certificate (default: the token's pin recognises it)")
	f.StringVar(&c.DataDir, "data", "", "directory of the agent's identity, database and workspaces (default $XDG_DATA_HOME/slipway/agent)")
	f.StringVar(&c.Metrics, "metrics", "", "loopback address of /metrics, host:port")
	f.IntVar(&c.Slots, "slots", 0, "how many jobs run at once (default twice the number of processors)")
	f.StringVar(&c.Sandbox.Kind, "sandbox", "", "where jobs run: containerd (default), or process: on this host itself, not isolated")
	f.StringVar(&c.Sandbox.Socket, "containerd", "", "containerd's socket (default "+agentconf.DefaultSocket+")")
	f.StringVar(&c.Sandbox.CABundle, "ca-bundle", "", "PEM file of this host that every container is to trust")
	f.StringSliceVar(&c.Sandbox.PassEnv, "pass-env", nil, "variables of this process that every container gets, e.g. HTTPS_PROXY")
	f.DurationVar(&c.Drain, "drain", 0, "how long an agent that gets TERM or INT waits for its jobs (default "+agentconf.DefaultDrain.String()+"); a second signal, or USR1, makes it leave at once")
	logs := addLogFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		conf, err := a.agentConfig(*file, c)
		if err != nil {
			return exit.With(exit.Invalid, err)
		}
		return a.serveUntil(cmd.Context(), "slipway-agent", logs, func(ctx context.Context, log *slog.Logger, tracers trace.TracerProvider) error {
			return a.runAgent(ctx, conf, log, tracers)
		})
	}
	cmd.AddCommand(a.agentInstallCmd())
	return cmd
}

// agentConfig lays flags over the file.
func (a *app) agentConfig(file string, flags agentconf.Config) (agentconf.Config, error) {
	var c agentconf.Config
	if file != "" {
		var err error
		if c, err = agentconf.Load(file); err != nil {
			return c, err
		}
	}
	for _, p := range []struct{ to, from *string }{
		{&c.Coordinator, &flags.Coordinator}, {&c.TokenFile, &flags.TokenFile}, {&c.CA, &flags.CA}, {&c.DataDir, &flags.DataDir}, {&c.Metrics, &flags.Metrics},
		{&c.Sandbox.Kind, &flags.Sandbox.Kind}, {&c.Sandbox.Socket, &flags.Sandbox.Socket}, {&c.Sandbox.CABundle, &flags.Sandbox.CABundle},
	} {
		if *p.from != "" {
			*p.to = *p.from
		}
	}
	if flags.Slots != 0 {
		c.Slots = flags.Slots
	}
	if flags.Drain != 0 {
		c.Drain = flags.Drain
	}
	for _, name := range flags.Sandbox.PassEnv {
		if !slices.Contains(c.Sandbox.PassEnv, name) {
			c.Sandbox.PassEnv = append(c.Sandbox.PassEnv, name)
		}
	}
	if c.DataDir == "" {
		c.DataDir = filepath.Join(a.dirs().Data, "agent")
	}
	return c, c.Check()
}

func (a *app) runAgent(ctx context.Context, c agentconf.Config, log *slog.Logger, tracers trace.TracerProvider) (err error) {
	leave := a.leaveOnSignals(ctx, cmp.Or(c.Drain, agentconf.DefaultDrain), log)
	defer leave.stop()
	ctx = leave.ctx
	token, err := c.Token()
	if errors.Is(err, fs.ErrNotExist) {
		log.Info("the join token's file is not there; that matters only to an agent without a certificate", "file", c.TokenFile)
	} else if err != nil {
		return err
	}
	ca, err := c.CABytes()
	if err != nil {
		return err
	}
	sb, label, err := a.openSandbox(ctx, c, log)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, sb.Close()) }()
	ag, err := agent.New(agent.Config{
		Address: c.Coordinator, DataDir: c.DataDir, RunDir: c.RunDir, JoinToken: token, CA: ca, Hostname: c.Hostname, Version: version.String(),
		Slots: c.Slots, MetricsAddr: c.Metrics, Tracer: tracers, Label: label, Protect: c.Sandbox.Kind != agentconf.Process,
	}, sb, log)
	if err != nil {
		return err
	}
	go func() {
		select {
		case <-ag.Ready():
			idlemem.Keep(ctx, ag.Idle)
		case <-ctx.Done():
		}
	}()
	stop, err := a.notify(ctx, log, ag.Ready(), ag.Alive)
	if err != nil {
		return err
	}
	defer stop()
	leave.drain(ag.Drain)
	return ag.Run(ctx)
}

// openSandbox returns also the label that an agent with this sandbox must have.
func (a *app) openSandbox(ctx context.Context, c agentconf.Config, log *slog.Logger) (sb sandbox.Sandbox, label string, err error) {
	if c.Sandbox.Kind == agentconf.Process {
		log.Warn("jobs run as processes of this host, and nothing isolates them", "sandbox", c.Sandbox.Kind)
		sb, err = process.New(ctx, process.Config{
			Dir: filepath.Join(c.DataDir, "processes"), CgroupParent: c.Sandbox.Cgroup, ToolCache: c.Sandbox.ToolCache, Path: a.getenv("PATH"),
			CABundle: c.Sandbox.CABundle, PassEnv: c.Sandbox.Env(a.getenv), Log: log,
		})
		return sb, agentconf.ProcessLabel, err
	}
	conf, err := a.sandboxConfig(c, log)
	if err != nil {
		return nil, "", err
	}
	sb, err = containerd.New(ctx, conf)
	return sb, "", err
}

func (a *app) sandboxConfig(c agentconf.Config, log *slog.Logger) (containerd.Config, error) {
	s := c.Sandbox
	out := containerd.Config{
		Socket: s.Socket, Namespace: s.Namespace, Dir: filepath.Join(c.DataDir, "sandbox"), CgroupParent: s.Cgroup,
		Network: network.Config{Bridge: s.Bridge, Subnet: s.Subnet}, CABundle: s.CABundle, PassEnv: s.Env(a.getenv),
		Registries: map[string]containerd.Registry{}, Log: log,
		Runtimes: map[string]containerd.Runtime{}, UserIDs: containerd.UserIDs{First: s.UserIDs.First, Pods: s.UserIDs.Pods},
		WarmPods: s.Warm(),
	}
	runDir := c.RunDir
	if runDir == "" {
		runDir, _ = workspace.RunDir(c.DataDir)
	}
	out.Volumes = []string{c.DataDir, runDir}
	out.StepsDir = filepath.Join(runDir, "steps")
	for name, r := range s.Runtimes {
		out.Runtimes[name] = containerd.Runtime{Path: r.Path, Type: r.Type}
	}
	if out.Socket == "" {
		out.Socket = agentconf.DefaultSocket
	}
	for host, r := range s.Registries {
		password, err := r.Password()
		if err != nil {
			return out, err
		}
		out.Registries[host] = containerd.Registry{PlainHTTP: r.PlainHTTP, Username: r.Username, Password: password}
	}
	return out, nil
}
