package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/slipway-ci/slipway/agent/sandbox/containerd"
	"github.com/slipway-ci/slipway/agent/sandbox/containerd/daemon"
	"github.com/slipway-ci/slipway/coordinator/config"
	"github.com/slipway-ci/slipway/coordinator/server"
	"github.com/slipway-ci/slipway/internal/cli/agentconf"
	"github.com/slipway-ci/slipway/internal/cli/dev"
	"github.com/slipway-ci/slipway/internal/cli/exit"
)

// newDev gives `slipway dev` the parts of coordinator and agent that it needs.
func (a *app) newDev(c dev.Config) (*dev.Dev, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, exit.With(exit.System, err)
	}
	dirs := a.dirs()
	c.Dirs, c.Exe, c.Getenv = dirs, exe, a.getenv
	c.Private = privateContainerd{daemon.Config{Dir: filepath.Join(dirs.Data, "containerd"), RunDir: filepath.Join(dirs.Runtime, "containerd")}}
	c.CAFile, c.AdminTokenFile = server.CAFile, server.AdminTokenFile
	c.Mirrors, c.Sweep = mirrors, a.sweep
	if c.Coordinator != "" {
		if c.Coordinator, err = filepath.Abs(c.Coordinator); err != nil {
			return nil, exit.With(exit.System, err)
		}
	}
	d, err := dev.New(c)
	return d, exit.With(exit.Invalid, err)
}

// privateContainerd is dev.Containerd on the sandbox's own daemon.
type privateContainerd struct{ daemon.Config }

func (p privateContainerd) Available() error { return daemon.Available() }

func (p privateContainerd) Alive() bool {
	_, err := daemon.Find(p.Config)
	return err == nil
}

func (p privateContainerd) Start(ctx context.Context) (int, error) {
	d, err := daemon.Start(ctx, p.Config)
	if err != nil {
		return 0, err
	}
	return d.PID(), nil
}

// mirrors names the registries to which the agent speaks plain http.
func mirrors(file string) ([]string, error) {
	c, err := config.Load(file)
	if err != nil {
		return nil, err
	}
	var out []string
	for host, r := range c.Registries {
		if !r.PlainHTTP {
			continue
		}
		if r.Mirror != "" {
			host = r.Mirror
		}
		out = append(out, host)
	}
	return out, nil
}

// sweep removes every pod of an agent's sandbox, then what the pods shared.
func (a *app) sweep(ctx context.Context, c agentconf.Config) error {
	conf, err := a.sandboxConfig(c, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	conf.Network.Pool = -1
	sb, err := containerd.New(ctx, conf)
	if err != nil {
		return err
	}
	ids, err := sb.List(ctx)
	errs := []error{err}
	for _, id := range ids {
		errs = append(errs, sb.Remove(ctx, id))
	}
	return errors.Join(append(errs, sb.Close(), sb.Uninstall(ctx))...)
}
